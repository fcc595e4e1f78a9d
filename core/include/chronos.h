/* Chronos from C: partitions of GPU memory that end by themselves.
 *
 *   ChronosPartitionerHandle chronos = chronos_partitioner_create();
 *   char id[64];
 *   if (chronos_create_partition(chronos, 0, 0.5f, 3600, NULL, id, sizeof id) != CHRONOS_OK) {
 *     fprintf(stderr, "%s\n", chronos_get_last_error());
 *   }
 *   ...
 *   chronos_release_partition(chronos, id);
 *   chronos_partitioner_destroy(chronos);
 *
 * A partition belongs to the machine, not to the process: it lasts until it is released, its time
 * is up, or the machine restarts. Its limit binds programs that run under the shim (`chronos run`,
 * or chronos_shim_path() in LD_PRELOAD).
 *
 * Units: memory in bytes, or as a share of a device in (0, 1]; times in seconds; devices by number
 * from 0, as `chronos stats` lists them.
 *
 * Threads: every function may be called by any thread, with the same handle too, except that
 * nobody may use a handle during or after its destruction. A handle stays good in a forked child.
 * There are no threads and no signal handlers. The environment (CHRONOS_STATE_DIR, and what selects
 * OpenCL drivers) is read in each call, so do not change it in another thread meanwhile.
 *
 * Waiting: calls take well under a millisecond, but where the devices have not been looked for
 * since the machine started (at most about 10 s a driver), or another process holds the registry
 * (at most 5 s, then CHRONOS_ERROR_BUSY).
 *
 * Ownership: strings that are passed in stay the caller's and need to live only as long as the
 * call; they end with NUL and have at most 4096 bytes. What comes back through a `char**` is the
 * caller's, who gives it to chronos_free(). `const char*` results are the library's.
 *
 * Errors: functions return CHRONOS_OK or one of the negative codes below and keep their words for
 * chronos_get_last_error() in the same thread. A failed call changes nothing. A NULL where it is
 * not allowed is an error, never a crash. Output arguments are set to NULL, 0 or "" on failure.
 */
#ifndef CHRONOS_H_
#define CHRONOS_H_

#include <stddef.h>

#if defined(__GNUC__)
#define CHRONOS_API __attribute__((visibility("default")))
#else
#define CHRONOS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum {
  CHRONOS_OK = 0,
  CHRONOS_ERROR_INVALID = -1,     /* the request itself is wrong */
  CHRONOS_ERROR_NO_CAPACITY = -2, /* not enough unreserved memory on the device */
  CHRONOS_ERROR_NOT_FOUND = -3,   /* no such partition */
  CHRONOS_ERROR_NAME_IN_USE = -4, /* the owner already has a partition of that name */
  CHRONOS_ERROR_PERMISSION = -5,  /* it is somebody else's, or the policy forbids it */
  CHRONOS_ERROR_EXPIRED = -6,     /* it has ended */
  CHRONOS_ERROR_DAMAGED = -7,     /* a state file is truncated, garbage or of another version */
  CHRONOS_ERROR_BUSY = -8,        /* another process holds the registry for too long */
  CHRONOS_ERROR_NO_DEVICE = -9,   /* no OpenCL, no such device, or a driver that fails */
  CHRONOS_ERROR_FULL = -10,       /* no room: in the state directory, or in the caller's array */
  CHRONOS_ERROR_SYSTEM = -11,     /* a system call failed */
  CHRONOS_ERROR_NO_MEMORY = -12,  /* this process is out of memory */
  CHRONOS_ERROR_INTERNAL = -13,   /* a defect in Chronos; please report it */
  CHRONOS_ERROR_IN_USE = -14,     /* programs hold more than that */
  CHRONOS_ERROR_CANCELLED = -15   /* whoever waited has given up */
};

typedef struct ChronosPartitioner* ChronosPartitionerHandle;

typedef struct ChronosPartitionInfo {
  char partition_id[64]; /* the name if it has one, else partition_0001 */
  int device_index;      /* -1: unknown */
  float memory_fraction; /* of the device */
  int duration_seconds;  /* rounded up */
  int time_remaining_seconds;
  char username[256]; /* of the owner */
  int process_id;     /* of the process that created it */
  int active;         /* 1; 0: it has ended, but programs still hold memory in it */
} ChronosPartitionInfo;

/* ---- The original's functions ---------------------------------------------------------------- */

/* NULL on failure. To be given to chronos_partitioner_destroy(), which ends no partition. */
CHRONOS_API ChronosPartitionerHandle chronos_partitioner_create(void);
/* NULL is allowed and does nothing. */
CHRONOS_API void chronos_partitioner_destroy(ChronosPartitionerHandle handle);

/* Reserves `fraction` of a device for `seconds` and writes the new id to `out` (64 bytes are always
 * enough). `user` is the owner: NULL or "" for the caller; only root may name another.
 * Errors: INVALID, NO_CAPACITY, PERMISSION, NO_DEVICE, FULL, BUSY, SYSTEM. */
CHRONOS_API int chronos_create_partition(ChronosPartitionerHandle handle, int device,
                                         float fraction, int seconds, const char* user, char* out,
                                         size_t out_len);

/* Ends a partition by id, name or handle ("id@token"). What programs hold in it stays counted until
 * they free it. Errors: NOT_FOUND, PERMISSION, INVALID, BUSY, SYSTEM. */
CHRONOS_API int chronos_release_partition(ChronosPartitionerHandle handle, const char* id);

/* All users' partitions, active ones first. `*count` holds how many `partitions` has room for, and
 * then how many were written. With `partitions` NULL, `*count` becomes the number there are.
 * Errors: FULL (the first ones were written, and `*count` is how many there are), SYSTEM. */
CHRONOS_API int chronos_list_partitions(ChronosPartitionerHandle handle,
                                        ChronosPartitionInfo* partitions, size_t* count);

/* The share of a device that a new partition can get, in percent (0 to 100); below 0 on failure.
 * Errors: NO_DEVICE, SYSTEM. */
CHRONOS_API float chronos_get_available_percentage(ChronosPartitionerHandle handle, int device);

/* Prints what `chronos stats` prints, to stdout. Errors: NO_DEVICE, SYSTEM. */
CHRONOS_API int chronos_show_device_stats(ChronosPartitionerHandle handle);

/* One line on why the last call that failed in this thread did, with what to do next; "" if none
 * has. Good until the next call in this thread. Never NULL. */
CHRONOS_API const char* chronos_get_last_error(void);

/* ---- Partitions that change while programs run ------------------------------------------------
 */

/* Only the creator of a partition, or root, changes it; its owner cannot where root created it.
 * Programs see the change at their next allocation. */

/* Lets a partition last `seconds` longer.
 * Errors: NOT_FOUND, EXPIRED (it has ended already), INVALID, PERMISSION, BUSY, SYSTEM. */
CHRONOS_API int chronos_extend_partition(ChronosPartitionerHandle handle, const char* id,
                                         int seconds);

/* Makes `fraction` of its device the limit of a partition. Less than its programs hold is refused,
 * unless `drain` is not 0: then nothing new is allocated until they hold less, and what they hold
 * counts against the device until then.
 * Errors: as chronos_extend_partition(), NO_CAPACITY, IN_USE, DAMAGED. */
CHRONOS_API int chronos_resize_partition(ChronosPartitionerHandle handle, const char* id,
                                         float fraction, int drain);

/* ---- The same with all details, as JSON (UTF-8, one object) ---------------------------------- */

/* Partitions have the fields of `chronos list --json` and `handle`, the text by which no other
 * partition of the same name can be meant. Answers about all partitions or devices also have
 * `warnings`, an array of lines: state files of the caller's and drivers that were left out. */

/* `memory` as on the command line: "0.5", "50%", "4GiB". `duration`: "3600", "90s", "1h30m".
 * `user`: NULL for the caller. `name`: NULL for a number only; else letters, digits, '.', '_', '-',
 * at most 63. `*json`: the partition.
 * Errors: as chronos_create_partition(), and NAME_IN_USE. */
CHRONOS_API int chronos_create(ChronosPartitionerHandle handle, int device, const char* memory,
                               const char* duration, const char* user, const char* name,
                               char** json);

/* As chronos_create(), and more. `flags`: the sum of
 *   CHRONOS_CREATE_HELD  the partition ends when the calling process ends, if not before
 *   CHRONOS_CREATE_WAIT  waits in line for the memory, first come first served, at most `timeout`
 * (as `duration`, and "0"; NULL: for ever) and until `cancel_fd` can be read (-1: there is none).
 * Blocks the calling thread only; signals do not end it. Errors: as chronos_create(), NO_CAPACITY
 * when the time is up or the device is too small, CANCELLED (nothing has been made). */
enum { CHRONOS_CREATE_HELD = 1, CHRONOS_CREATE_WAIT = 2 };
CHRONOS_API int chronos_create_with(ChronosPartitionerHandle handle, int device, const char* memory,
                                    const char* duration, const char* user, const char* name,
                                    int flags, const char* timeout, int cancel_fd, char** json);

/* Partitions on `count` of the devices `devices` ("0,2,3"; NULL: all GPUs), all or none, each of
 * `memory` on its own device; held by the calling process. `name`: with a count above 1 each one's is
 * this, a full stop and the device's number. `flags`: 0 or CHRONOS_CREATE_WAIT, with `timeout` and
 * `cancel_fd` as for chronos_create_with(). `*json`: {"schema_version", "partitions": [...]}.
 * Errors: as chronos_create_with(). */
CHRONOS_API int chronos_reserve_json(ChronosPartitionerHandle handle, const char* devices, int count,
                                     const char* memory, const char* duration, const char* name,
                                     int flags, const char* timeout, int cancel_fd, char** json);

/* The same for whole devices that are fit, as `chronos acquire` takes them: with at least
 * `min_free_bytes` free, drawing at most `max_power_watts`, busy to at most `max_utilization_percent`;
 * each below 0: not looked at. What nobody knows of a device is not met. With CHRONOS_CREATE_WAIT
 * devices that are not fit are looked at again every `look_again_seconds`. `*json` also has
 * `environment`, an object of variables by which CUDA, ROCm and Level Zero choose these devices.
 * Errors: as above; NO_CAPACITY says who holds what until when, and what is not fit, and
 * chronos_last_error_json() then has `obstacles`: [{"device", "reason", "partition" (as in a list,
 * or null)}]. */
CHRONOS_API int chronos_acquire_json(ChronosPartitionerHandle handle, const char* devices, int count,
                                     double min_free_bytes, double max_power_watts,
                                     double max_utilization_percent, double look_again_seconds,
                                     const char* duration, const char* name, int flags,
                                     const char* timeout, int cancel_fd, char** json);

/* {"schema_version", "devices": [...], "warnings": [...]}: what GPUs say of themselves, one object a
 * device with `device, name, uuid, pci, source, total_bytes, used_bytes, free_bytes, power_watts,
 * power_limit_watts, utilization_percent, temperature_celsius, processes, all_processes`; null for
 * what nobody knows. Errors: NO_DEVICE, SYSTEM. */
CHRONOS_API int chronos_facts_json(ChronosPartitionerHandle handle, char** json);

/* As chronos_release_partition(). `*json`: the partition as it ended; `json` may be NULL. */
CHRONOS_API int chronos_release_json(ChronosPartitionerHandle handle, const char* id, char** json);

/* As chronos_extend_partition() with `duration` as for chronos_create(). `*json`: the partition as
 * it stands then; `json` may be NULL. */
CHRONOS_API int chronos_extend_json(ChronosPartitionerHandle handle, const char* id,
                                    const char* duration, char** json);

/* As chronos_resize_partition() with `memory` as for chronos_create(). `*json`: the partition as it
 * stands then, `draining_bytes` being what is held above the limit; `json` may be NULL. */
CHRONOS_API int chronos_resize_json(ChronosPartitionerHandle handle, const char* id,
                                    const char* memory, int drain, char** json);

/* One partition. Errors: NOT_FOUND, SYSTEM. */
CHRONOS_API int chronos_find_json(ChronosPartitionerHandle handle, const char* id, char** json);

/* {"schema_version", "partitions": [...], "warnings": [...]}. Errors: SYSTEM. */
CHRONOS_API int chronos_list_json(ChronosPartitionerHandle handle, char** json);

/* {"schema_version", "devices": [...], "warnings": [...]}, fields as in `chronos stats --json`.
 * `refresh` other than 0 asks the drivers again. Errors: NO_DEVICE, SYSTEM. */
CHRONOS_API int chronos_stats_json(ChronosPartitionerHandle handle, int refresh, char** json);

/* The text of `chronos stats`. Errors: NO_DEVICE, SYSTEM. */
CHRONOS_API int chronos_stats_text(ChronosPartitionerHandle handle, char** text);

/* {"schema_version", "device", "available_percent", "available_bytes"}.
 * Errors: NO_DEVICE, SYSTEM. */
CHRONOS_API int chronos_available_json(ChronosPartitionerHandle handle, int device, char** json);

/* The partitions that a program started by the caller would run in, for those who start programs
 * under the shim. `ids`: ids, names or handles, separated by commas; NULL: the caller's own active
 * ones. `*json`: {"schema_version", "implicit", "handles", "partitions": [...]}. `handles` is what
 * CHRONOS_PARTITION is to be set to; with `implicit` (`ids` was NULL) it is best left unset.
 * Errors: INVALID, NOT_FOUND, PERMISSION (somebody else's), EXPIRED, SYSTEM. */
CHRONOS_API int chronos_scope_json(ChronosPartitionerHandle handle, const char* ids, char** json);

/* The last error of this thread: {"code", "message", "hint"}, and for NO_CAPACITY `device`,
 * `asked_bytes` and `available_bytes` (the latter as it was just after the refusal, what the
 * partition itself has included; null if unknown). "{}" if there was none. Good until the next call
 * in this thread. Never NULL. */
CHRONOS_API const char* chronos_last_error_json(void);

/* ---- This installation ----------------------------------------------------------------------- */

/* The absolute path of libchronos_shim.so. Errors: SYSTEM (it is missing, or its path holds a blank
 * or a colon, which LD_PRELOAD cannot express). */
CHRONOS_API int chronos_shim_path(char** path);

/* The absolute path of the command `chronos`. Errors: SYSTEM (it is missing). */
CHRONOS_API int chronos_command_path(char** path);

/* What `chronos doctor --json` prints: {"schema_version", "healthy", "findings": [{"status",
 * "topic", "text", "remedy"}], ...}. Asks every driver and tries the ways into a program in child
 * processes: may take some seconds, at most about 25. Errors: NO_MEMORY. */
CHRONOS_API int chronos_doctor_json(char** json);

/* "1.2.3", for ever good. */
CHRONOS_API const char* chronos_version(void);

/* Frees what came through a `char**`; NULL is allowed. */
CHRONOS_API void chronos_free(void* memory);

#ifdef __cplusplus
}
#endif

#endif /* CHRONOS_H_ */
