// Catch2 2 has no library with a main; Catch2 3 has one, and this file is then empty.
#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif
