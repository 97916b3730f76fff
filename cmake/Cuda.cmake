# The cuda engine is the room src/cuda: kernels for nvcc, and C over the CUDA runtime, which is linked
# in and finds the driver by itself, so that one binary also runs where there is none. KVF_CUDA=on
# insists on it, auto takes it where a toolkit is. Kernels are compiled by commands of our own: with
# CUDA as a language of the project, CMake would link every program as C++.
set_property(CACHE KVF_CUDA PROPERTY STRINGS auto on off)
set(CMAKE_CUDA_ARCHITECTURES "" CACHE STRING "for which devices, e.g. 80;90 (default: 7.0 or what the toolkit still knows, 8.0, 9.0 and newer)")
string(TOLOWER "${KVF_CUDA}" KVF_CUDA_WANT)
set(KVF_CUDA_FOUND FALSE)
if(NOT KVF_CUDA_WANT MATCHES "^(auto|on|off)$")
    message(FATAL_ERROR "KVF_CUDA is ${KVF_CUDA}; it should be on, off or auto")
elseif(NOT KVF_CUDA_WANT STREQUAL "off")
    find_program(KVF_NVCC nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(KVF_NVCC)
        cmake_path(GET KVF_NVCC PARENT_PATH CUDAToolkit_ROOT)
        cmake_path(GET CUDAToolkit_ROOT PARENT_PATH CUDAToolkit_ROOT)
        find_package(CUDAToolkit 12 QUIET)
    endif()
    set(KVF_CUDA_FOUND ${CUDAToolkit_FOUND})
    if(NOT KVF_CUDA_FOUND AND KVF_CUDA_WANT STREQUAL "on")
        message(FATAL_ERROR "KVF_CUDA is on, but no CUDA toolkit of version 12 or newer is found: install one, or set KVF_NVCC to its nvcc")
    endif()
endif()
if(KVF_CUDA_FOUND)
    message(STATUS "CUDA: toolkit ${CUDAToolkit_VERSION}")
else()
    message(STATUS "CUDA: ${KVF_CUDA_WANT}, so no cuda engine")
endif()

# Append the room's sources and its compiled kernels to a list. As elsewhere, the compiler may not fuse
# a * b + c on its own.
function(kvf_cuda_sources list)
    set(archs ${CMAKE_CUDA_ARCHITECTURES})
    if(archs)
        list(SORT archs COMPARE NATURAL)
        if(NOT archs MATCHES "^[0-9]+[af]?(;[0-9]+[af]?)*$")
            message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES is ${archs}; it should be numbers such as 80;90")
        endif()
    else()
        execute_process(COMMAND ${KVF_NVCC} --list-gpu-arch OUTPUT_VARIABLE known)
        set(archs 75 80 90)
        if(known MATCHES "compute_70")
            set(archs 70 80 90)
        endif()
    endif()
    foreach(arch ${archs})
        list(APPEND generate -gencode arch=compute_${arch},code=sm_${arch})
    endforeach()
    list(GET archs -1 newest)
    list(APPEND generate -gencode arch=compute_${newest},code=compute_${newest}) # PTX, for newer ones
    if(KVF_WERROR)
        set(werror -Werror=all-warnings)
    endif()
    file(GLOB kernels CONFIGURE_DEPENDS src/cuda/*.cu)
    foreach(source ${kernels})
        cmake_path(GET source STEM name)
        set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
        add_custom_command(OUTPUT ${object} DEPENDS ${source} DEPFILE ${object}.d VERBATIM
            COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
            COMMAND ${KVF_NVCC} -ccbin ${CMAKE_C_COMPILER} -std=c++20 -O3 --fmad=false ${generate} ${werror}
                -Xcompiler=-Wall,-Wextra,-fPIC,-fvisibility=hidden,-ffp-contract=off
                -Xcompiler=-fno-exceptions,-fno-rtti,-fno-threadsafe-statics # nothing of C++'s library
                -Xcompiler=-Wno-unused-function -Wno-deprecated-gpu-targets
                -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/src -MD -MF ${object}.d -c ${source} -o ${object}
            COMMENT "Compiling kernels ${name}.cu")
        list(APPEND objects ${object})
    endforeach()
    file(GLOB sources CONFIGURE_DEPENDS src/cuda/*.c)
    add_custom_target(kvfork_kernels DEPENDS ${objects}) # so that two libraries do not make them at once
    set(${list} ${${list}} ${sources} PARENT_SCOPE)
    set(KVF_CUDA_OBJECTS ${objects} PARENT_SCOPE)
endfunction()
