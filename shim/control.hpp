// What a program that knows of Chronos may ask of the shim in its own process: the Python package
// does, because its interpreter cannot be started under a partition that it makes itself. Looked up
// by name with dlsym; of several copies of the shim in a process, whichever is asked, the active
// one answers. Any thread. No exception gets out.
#pragma once

extern "C" {

// From now on `partitions` (ids, names or handles, separated by commas) stand in the place of
// CHRONOS_PARTITION for this process: the first of them on a device gets its allocations, in
// contexts made before too. What has been charged stays with the partition that it was charged to.
// NULL: what CHRONOS_PARTITION said when it was first read. What an unusable name leads to shows at
// the next allocation, as with CHRONOS_PARTITION. A forked child goes on with what its parent had.
// 0; -1: no memory; -2: the active copy of the shim is too old to know of this.
__attribute__((visibility("default"))) int chronos_shim_use(const char* partitions);

// How OpenCL stands in this process.
enum ChronosShimReach {
  kChronosShimNotStarted = 0,  // no driver is loaded yet
  kChronosShimReached = 1,     // calls come through the shim
  kChronosShimPassedBy = 2,    // a driver is loaded, and nothing has come through the shim
};
// One of these; -2 as above.
__attribute__((visibility("default"))) int chronos_shim_reach(void);
}
