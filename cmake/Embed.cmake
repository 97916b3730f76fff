# A text file as a string of C. kvf_embed(SOURCES PREFIX FILE...) appends to the list SOURCES, for
# each FILE such as trigo/view.css, a C file that is made from it and defines
#   const char PREFIX_view_css[];   its characters, which are ASCII, and a terminator
if(CMAKE_SCRIPT_MODE_FILE)
    file(READ ${IN} bytes HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    file(WRITE ${OUT} "extern const char ${NAME}[];\nconst char ${NAME}[] = {${bytes}0};\n")
    return()
endif()

set(KVF_EMBED ${CMAKE_CURRENT_LIST_FILE})
function(kvf_embed sources prefix)
    foreach(file ${ARGN})
        cmake_path(GET file FILENAME name)
        string(REPLACE "." "_" name ${prefix}_${name})
        set(out ${CMAKE_BINARY_DIR}/embedded/${name}.c)
        add_custom_command(OUTPUT ${out} DEPENDS ${file} ${KVF_EMBED}
            COMMAND ${CMAKE_COMMAND} -DIN=${CMAKE_SOURCE_DIR}/${file} -DOUT=${out} -DNAME=${name} -P ${KVF_EMBED})
        list(APPEND ${sources} ${out})
    endforeach()
    set(${sources} ${${sources}} PARENT_SCOPE)
endfunction()
