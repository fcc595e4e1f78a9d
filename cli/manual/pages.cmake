# Writes the pages of the manual into FOLDER. CHRONOS, CHRONOSD: the programs; PROSE: the folder of
# what their help does not say; DATE: of the release.
function(page name program)
  set(arguments manual --date ${DATE} ${ARGN})
  string(REGEX REPLACE "^chronos-" "" prose ${name})
  if(EXISTS ${PROSE}/${prose}.roff)
    list(APPEND arguments --prose ${PROSE}/${prose}.roff)
  endif()
  execute_process(COMMAND ${program} ${arguments} OUTPUT_FILE ${FOLDER}/${name}.1
                  COMMAND_ERROR_IS_FATAL ANY)
endfunction()

execute_process(COMMAND ${CHRONOS} manual --names OUTPUT_VARIABLE names COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" names "${names}")
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
foreach(name ${names})
  page(chronos-${name} ${CHRONOS} ${name})
endforeach()
page(chronosd ${CHRONOSD})
page(chronos ${CHRONOS})
