# chronos_target(NAME): what every target of ours is compiled with.
function(chronos_target name)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_options(${name} PRIVATE
    $<$<COMPILE_LANGUAGE:C,CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnull-dereference
                                -fno-math-errno -fstack-protector-strong>)
  if(CHRONOS_WERROR)
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:C,CXX>:-Werror>)
  endif()
  if(CHRONOS_SANITIZE)
    target_compile_options(${name} PRIVATE -fsanitize=${CHRONOS_SANITIZE} -fno-omit-frame-pointer
                                           -fno-sanitize-recover=all)
    target_link_options(${name} PRIVATE -fsanitize=${CHRONOS_SANITIZE})
    if(CHRONOS_SANITIZE MATCHES thread)
      # ThreadSanitizer does not see fences. Ours orders a store before reads of other files only.
      target_compile_options(${name} PRIVATE -Wno-tsan)
    endif()
  endif()
endfunction()

# chronos_static_runtime(NAME): carries its own C++ runtime. An exec with a dynamic libstdc++ costs
# 1.4 ms more (measured), and the shim must not bring symbols into a program that has its own copy.
function(chronos_static_runtime name)
  if(NOT CHRONOS_SANITIZE)
    # g++ names libm whether it is needed or not, and to load it costs more than our own library.
    target_link_options(${name} PRIVATE -static-libstdc++ -static-libgcc -Wl,--as-needed
                                        -Wl,-z,relro -Wl,-z,now)
  endif()
endfunction()

# chronos_in_wheel(NAME): belongs into the Python package, too: `cmake --install --component python`.
function(chronos_in_wheel name)
  add_dependencies(chronos_python ${name})
  install(TARGETS ${name} RUNTIME DESTINATION . COMPONENT python EXCLUDE_FROM_ALL
                          LIBRARY DESTINATION . COMPONENT python EXCLUDE_FROM_ALL)
endfunction()

# chronos_exports(NAME FILE): only what the version script names is visible.
function(chronos_exports name file)
  target_link_options(${name} PRIVATE -Wl,--version-script=${file} -Wl,--gc-sections
                                      -Wl,--exclude-libs,ALL -Wl,-z,defs)
  set_target_properties(${name} PROPERTIES LINK_DEPENDS ${file})
endfunction()
