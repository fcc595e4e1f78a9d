# Debian packages, by CPack: scripts/package. Split as Debian splits a program with a library.
#   chronos          the commands, the shim, the probe, units, completions, the manual
#   libchronos0      libchronos.so.0, for programs in C and for Python
#   libchronos-dev   what those are compiled with
#   python3-chronos  the package for Debian's Python
# The layout is that of any installation, until cmake/debian/layout.cmake.in makes it Debian's.
set(CHRONOS_MAINTAINER "Chronos maintainers <maintainers@chronos.example.org>" CACHE STRING
    "Who answers for the packages")
set(CHRONOS_PACKAGE_RELEASE 1 CACHE STRING "Which packaging of this version it is")
set(full_version ${PROJECT_VERSION}-${CHRONOS_PACKAGE_RELEASE})
set(debian ${PROJECT_SOURCE_DIR}/cmake/debian)
set(made ${PROJECT_BINARY_DIR}/debian)

configure_file(${debian}/layout.cmake.in ${made}/layout.cmake @ONLY)
configure_file(${debian}/changelog.in ${made}/changelog @ONLY)
configure_file(${debian}/copyright.in ${made}/copyright @ONLY)
configure_file(${debian}/shlibs.in ${made}/shlibs @ONLY)
configure_file(${debian}/METADATA.in ${made}/METADATA @ONLY)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/python/chronos DESTINATION lib/python3/dist-packages
        COMPONENT python3 EXCLUDE_FROM_ALL PATTERN __pycache__ EXCLUDE)
install(FILES ${made}/METADATA ${debian}/entry_points.txt
        DESTINATION lib/python3/dist-packages/chronos_gpu-${PROJECT_VERSION}.dist-info
        COMPONENT python3 EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME chronos)
set(CPACK_PACKAGE_VENDOR Chronos)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")  # each package has its own
set(CPACK_PACKAGE_CONTACT "${CHRONOS_MAINTAINER}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PRE_BUILD_SCRIPTS ${made}/layout.cmake)
set(CPACK_COMPONENTS_ALL runtime library development python3)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${CHRONOS_MAINTAINER}")
set(CPACK_DEBIAN_PACKAGE_RELEASE ${CHRONOS_PACKAGE_RELEASE})
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)

# package(COMPONENT NAME SECTION SUMMARY TEXT): what every package has.
macro(package component name section summary text)
  set(CPACK_DEBIAN_${component}_PACKAGE_NAME ${name})
  set(CPACK_DEBIAN_${component}_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_${component}_PACKAGE_SECTION ${section})
  set(CPACK_DEBIAN_${component}_DESCRIPTION "${summary}\n${text}")
endmacro()
set(about "Anyone on a machine can reserve a share of a GPU's memory for a time,
and a program that runs in that partition cannot take more, in any of its
processes: it gets the out-of-memory error of a smaller device.
No daemon is needed.")

package(RUNTIME chronos utils "time-limited GPU memory partitions that hold"
  "${about}\n\nThis package has the commands chronos and chronosd, and the library
that holds OpenCL programs to their partitions.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS "libchronos0 (= ${full_version}), ocl-icd-libopencl1 | libopencl1")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SUGGESTS "python3-chronos, pocl-opencl-icd | opencl-icd")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA
    "${debian}/chronos/postinst;${debian}/chronos/prerm;${debian}/chronos/postrm")

package(LIBRARY libchronos0 libs "time-limited GPU memory partitions - C library"
  "${about}\n\nThis package has the library for programs in C, and for Python.")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SHLIBDEPS ON)
# It calls the probe, and hands out the shim.
set(CPACK_DEBIAN_LIBRARY_PACKAGE_DEPENDS "chronos (= ${full_version})")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA "${made}/shlibs;${debian}/libchronos0/triggers")

package(DEVELOPMENT libchronos-dev libdevel
  "time-limited GPU memory partitions - development files"
  "${about}\n\nThis package has what programs in C that call the library are compiled with.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libchronos0 (= ${full_version})")

package(PYTHON3 python3-chronos python "time-limited GPU memory partitions - Python module"
  "${about}\n\nThis package has the module for Python 3, which holds the interpreter
that it is used in, with a plugin for pytest and commands for Jupyter.")
set(CPACK_DEBIAN_PYTHON3_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PYTHON3_PACKAGE_DEPENDS
    "chronos (>= ${PROJECT_VERSION}), libchronos0 (>= ${PROJECT_VERSION}), python3 (>= 3.9)")
set(CPACK_DEBIAN_PYTHON3_PACKAGE_SUGGESTS "python3-pyopencl")
set(CPACK_DEBIAN_PYTHON3_PACKAGE_CONTROL_EXTRA
    "${debian}/python3-chronos/postinst;${debian}/python3-chronos/prerm")
include(CPack)
