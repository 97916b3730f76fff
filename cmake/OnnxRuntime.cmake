# Where ONNX Runtime is: a given root (ONNXRUNTIME_ROOT, the layout of the official release archive),
# the set-up script's pinned fetch (.deps/onnxruntime), then the system's package. Only the C header
# is needed to build; the library is opened at run time from the paths recorded here.
set(ONNXRUNTIME_ROOT "" CACHE PATH "an unpacked ONNX Runtime release (include/ and lib/)")

function(kvf_use_onnxruntime target)
    find_path(ONNXRUNTIME_INCLUDE onnxruntime_c_api.h
        HINTS ${ONNXRUNTIME_ROOT}/include ${CMAKE_SOURCE_DIR}/.deps/onnxruntime/include
        PATH_SUFFIXES onnxruntime onnxruntime/core/session NO_CACHE)
    if(NOT ONNXRUNTIME_INCLUDE)
        message(STATUS "ONNX Runtime: no header found; the ort engine will say so")
        return()
    endif()
    message(STATUS "ONNX Runtime: header in ${ONNXRUNTIME_INCLUDE}")
    target_include_directories(${target} SYSTEM PRIVATE ${ONNXRUNTIME_INCLUDE})
    target_compile_definitions(${target} PRIVATE KVF_HAVE_ORT_HEADER
        KVF_ORT_ROOT="${ONNXRUNTIME_ROOT}" KVF_ORT_FETCHED="${CMAKE_SOURCE_DIR}/.deps/onnxruntime/lib")
endfunction()
