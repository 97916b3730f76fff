# Where ONNX Runtime is: a given root (ONNXRUNTIME_ROOT, the layout of the official release archive),
# the set-up script's pinned fetch (.deps/onnxruntime), then the system's package. Only the C header
# is needed to build. The library is opened at run time, by its soname: RPATH leads there. What is
# built finds the given or the fetched folder; what is installed finds the given one or kvfork/
# beside libkvfork, where a fetched library is installed too; and both the system's last.
set(ONNXRUNTIME_ROOT "" CACHE PATH "an unpacked ONNX Runtime release (include/ and lib/)")
set(KVF_ORT_FETCH ${CMAKE_SOURCE_DIR}/.deps/onnxruntime)
set(KVF_ORT_INSTALLED ${CMAKE_INSTALL_FULL_LIBDIR}/kvfork)

if(KVF_ORT AND ONNXRUNTIME_ROOT)
    find_path(ONNXRUNTIME_INCLUDE onnxruntime_c_api.h PATHS ${ONNXRUNTIME_ROOT}/include
        PATH_SUFFIXES onnxruntime onnxruntime/core/session NO_DEFAULT_PATH NO_CACHE)
    if(NOT ONNXRUNTIME_INCLUDE)
        message(FATAL_ERROR "ONNXRUNTIME_ROOT is ${ONNXRUNTIME_ROOT}, but no include/onnxruntime_c_api.h is there")
    endif()
    set(CMAKE_BUILD_RPATH ${ONNXRUNTIME_ROOT}/lib)
elseif(KVF_ORT)
    pkg_check_modules(ORT_SYSTEM QUIET libonnxruntime)
    find_path(ONNXRUNTIME_INCLUDE onnxruntime_c_api.h PATHS ${KVF_ORT_FETCH}/include
        NO_DEFAULT_PATH NO_CACHE)
    find_path(ONNXRUNTIME_INCLUDE onnxruntime_c_api.h HINTS ${ORT_SYSTEM_INCLUDE_DIRS}
        PATH_SUFFIXES onnxruntime onnxruntime/core/session NO_CACHE)
    set(CMAKE_BUILD_RPATH ${KVF_ORT_FETCH}/lib)
endif()
if(ONNXRUNTIME_INCLUDE)
    message(STATUS "ONNX Runtime: header in ${ONNXRUNTIME_INCLUDE}")
elseif(KVF_ORT)
    message(STATUS "ONNX Runtime: no header found (scripts/setup.sh fetches it); the ort engine will say so")
else()
    message(STATUS "ONNX Runtime: off")
endif()

# Without the header one file stands for the engine, and says so.
function(kvf_choose_ort_sources list)
    if(ONNXRUNTIME_INCLUDE)
        list(FILTER ${list} EXCLUDE REGEX "/absent\\.c$")
    else()
        list(FILTER ${list} INCLUDE REGEX "/absent\\.c$")
    endif()
    set(${list} ${${list}} PARENT_SCOPE)
endfunction()

function(kvf_use_onnxruntime target)
    if(ONNXRUNTIME_INCLUDE)
        target_include_directories(${target} SYSTEM PRIVATE ${ONNXRUNTIME_INCLUDE})
    endif()
    target_compile_definitions(${target} PRIVATE KVF_ORT_ROOT="${ONNXRUNTIME_ROOT}" KVF_ORT_INSTALLED="${KVF_ORT_INSTALLED}")
endfunction()

# Let what will be installed in folder find the library, wherever the whole prefix is moved to.
function(kvf_install_rpath target folder)
    file(RELATIVE_PATH relative ${folder} ${KVF_ORT_INSTALLED})
    set(rpath $ORIGIN/${relative})
    if(ONNXRUNTIME_ROOT)
        list(PREPEND rpath ${ONNXRUNTIME_ROOT}/lib)
    endif()
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "${rpath}")
endfunction()

function(kvf_install_onnxruntime)
    if(NOT ONNXRUNTIME_ROOT AND EXISTS ${KVF_ORT_FETCH}/lib/libonnxruntime.so.1)
        file(REAL_PATH ${KVF_ORT_FETCH}/lib/libonnxruntime.so.1 library)
        install(PROGRAMS ${library} DESTINATION ${CMAKE_INSTALL_LIBDIR}/kvfork RENAME libonnxruntime.so.1)
        install(FILES ${KVF_ORT_FETCH}/lib/LICENSE ${KVF_ORT_FETCH}/lib/ThirdPartyNotices.txt
            DESTINATION ${CMAKE_INSTALL_DOCDIR}/onnxruntime)
    endif()
endfunction()
