/* The header is C, and what it declares is there: the original's calls, as a C program makes them.
 */
#include <string.h>

#include "chronos.h"

int use_from_c(int* counted, float* available);

int use_from_c(int* counted, float* available) {
  ChronosPartitionerHandle chronos = chronos_partitioner_create();
  char id[64];
  ChronosPartitionInfo partitions[4];
  size_t count = sizeof partitions / sizeof partitions[0];
  int result = chronos_create_partition(chronos, 0, 0.25f, 60, NULL, id, sizeof id);
  if (result == CHRONOS_OK) result = chronos_list_partitions(chronos, partitions, &count);
  if (result == CHRONOS_OK && strcmp(partitions[0].partition_id, id) != 0) result = 1;
  *counted = (int)count;
  *available = chronos_get_available_percentage(chronos, 0);
  if (result == CHRONOS_OK) result = chronos_release_partition(chronos, id);
  chronos_partitioner_destroy(chronos);
  return result;
}
