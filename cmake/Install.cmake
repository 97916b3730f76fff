# What `cmake --install` gives: header, libraries, programs, man pages, and the two ways in which
# other builds find them: pkg-config (kvfork) and find_package(kvfork). All of it can be moved as a
# whole: paths inside are relative to the file that holds them.
include(CMakePackageConfigHelpers)

set(programs "")
foreach(program kvfork_program trigo_program)
    if(TARGET ${program})
        list(APPEND programs ${program})
        kvf_install_rpath(${program} ${CMAKE_INSTALL_FULL_BINDIR})
    endif()
endforeach()
kvf_install_rpath(kvfork ${CMAKE_INSTALL_FULL_LIBDIR})

install(TARGETS kvfork kvfork_static EXPORT kvforkTargets)
if(programs)
    install(TARGETS ${programs})
endif()
install(FILES include/kvfork.h TYPE INCLUDE)
install(FILES LICENSE TYPE DOC)
if(KVF_ORT)
    kvf_install_onnxruntime()
endif()
foreach(section 1 3)
    file(GLOB pages CONFIGURE_DEPENDS docs/man/*.${section})
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

# A version 0.x promises nothing to the next 0.y.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/kvfork)
configure_package_config_file(cmake/kvforkConfig.cmake.in ${CMAKE_BINARY_DIR}/kvforkConfig.cmake
    INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/kvforkConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT kvforkTargets NAMESPACE kvfork:: DESTINATION ${package_dir})
install(FILES ${CMAKE_BINARY_DIR}/kvforkConfig.cmake ${CMAKE_BINARY_DIR}/kvforkConfigVersion.cmake
    DESTINATION ${package_dir})

file(RELATIVE_PATH KVF_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" KVF_PC_PREFIX ${KVF_PC_PREFIX})
file(RELATIVE_PATH KVF_PC_LIBDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH KVF_PC_INCLUDEDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
if(KVF_CUDA_FOUND)
    set(KVF_PC_CUDA " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lrt")
endif()
configure_file(cmake/kvfork.pc.in ${CMAKE_BINARY_DIR}/kvfork.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/kvfork.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
