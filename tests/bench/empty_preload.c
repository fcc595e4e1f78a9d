/* A library with nothing in it: what LD_PRELOAD itself costs an exec. */
__attribute__((visibility("default"))) int chronos_bench_empty = 1;
