# _core_cuda: every *.cu of cpp/tersor and the bindings of cpp/bindings/cuda. nvcc is called by
# commands of our own: the one that pip installs (nvidia-cuda-nvcc and its companions) lies in a
# layout that CMake's detection of the language does not know.

set(TERSOR_CUDA_ARCHITECTURES "75;80;87;89;90;100;120" CACHE STRING
    "Compute capabilities with machine code; the last also as PTX for later ones")

tersor_locate(pip_nvcc nvidia-cuda-nvcc bin/nvcc)
find_program(TERSOR_NVCC nvcc HINTS "$ENV{CUDACXX}" "$ENV{CUDA_HOME}/bin" "$ENV{CUDA_PATH}/bin"
             PATHS /usr/local/cuda/bin DOC "nvcc 12.8 or later")
if(NOT TERSOR_NVCC AND pip_nvcc)
  set(TERSOR_NVCC "${pip_nvcc}" CACHE FILEPATH "nvcc 12.8 or later" FORCE)
endif()
if(NOT TERSOR_NVCC)
  message(FATAL_ERROR "TERSOR_CUDA=ON but nvcc was not found: install CUDA 12.8 or later, or "
                      "pip install nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl")
endif()
execute_process(COMMAND "${TERSOR_NVCC}" --version OUTPUT_VARIABLE nvcc_text
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX REPLACE ".*release ([0-9]+\\.[0-9]+).*" "\\1" nvcc_release "${nvcc_text}")
if(nvcc_release VERSION_LESS 12.8)
  message(FATAL_ERROR "TERSOR_CUDA=ON needs nvcc 12.8 or later, got ${nvcc_release}")
endif()
# A wrapper or link on the path tells nothing about where the toolkit lies; a dry run does.
execute_process(COMMAND "${TERSOR_NVCC}" --dryrun -x cu -c /dev/null -o /dev/null
                ERROR_VARIABLE dry_run OUTPUT_QUIET)
string(REGEX REPLACE ".*TOP=([^\n]*)\n.*" "\\1" nvcc_top "${dry_run}")
string(STRIP "${nvcc_top}" nvcc_top)
find_library(TERSOR_CUDART libcudart_static.a
             HINTS "${nvcc_top}/lib64" "${nvcc_top}/lib" "${nvcc_top}/targets/x86_64-linux/lib"
                   "${nvcc_top}/targets/sbsa-linux/lib" NO_DEFAULT_PATH REQUIRED)
message(STATUS "tersor: CUDA ${nvcc_release} ${TERSOR_NVCC}")

set(cuda_code "")
foreach(arch IN LISTS TERSOR_CUDA_ARCHITECTURES)
  list(APPEND cuda_code "-gencode=arch=compute_${arch},code=sm_${arch}")
  set(last ${arch})
endforeach()
list(APPEND cuda_code "-gencode=arch=compute_${last},code=compute_${last}")
# No contraction, as in the CPU's sources: kernels write fmaf where they mean it.
set(cuda_flags -std=c++20 -O3 --fmad=false --compiler-options
    -fPIC,-fvisibility=hidden,-fvisibility-inlines-hidden,-Wall,-Wextra ${cuda_code})
if(TERSOR_WERROR)
  list(APPEND cuda_flags -Werror all-warnings)
endif()

file(GLOB cuda_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cpp/tersor/*/*.cu")
set(cuda_objects "")
foreach(source IN LISTS cuda_sources)
  cmake_path(GET source STEM stem)
  cmake_path(GET source PARENT_PATH room)
  cmake_path(GET room FILENAME room)
  set(object "${PROJECT_BINARY_DIR}/cuda/${room}_${stem}.o")
  add_custom_command(
    OUTPUT "${object}"
    COMMAND "${CMAKE_COMMAND}" -E make_directory "${PROJECT_BINARY_DIR}/cuda"
    COMMAND "${TERSOR_NVCC}" ${cuda_flags} -ccbin "${CMAKE_CXX_COMPILER}"
            "-I${PROJECT_SOURCE_DIR}/cpp" "-I${PROJECT_BINARY_DIR}/generated" -MD -MF "${object}.d"
            -c "${source}" -o "${object}"
    DEPENDS "${source}" DEPFILE "${object}.d" COMMENT "CUDA ${room}/${stem}.cu" VERBATIM)
  list(APPEND cuda_objects "${object}")
endforeach()

file(GLOB cuda_bindings CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cpp/bindings/cuda/*.cpp")
pybind11_add_module(_core_cuda MODULE NO_EXTRAS ${cuda_bindings} ${cuda_objects})
set_source_files_properties(${cuda_objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
target_include_directories(_core_cuda PRIVATE cpp/bindings/cuda)
target_link_libraries(_core_cuda PRIVATE tersor tersor_flags "${TERSOR_CUDART}" Threads::Threads
                                         ${CMAKE_DL_LIBS} rt)
target_compile_options(_core_cuda PRIVATE -O1)
target_link_options(_core_cuda PRIVATE -Wl,--exclude-libs,ALL)
set_target_properties(_core_cuda PROPERTIES INSTALL_RPATH "$ORIGIN")
install(TARGETS _core_cuda LIBRARY DESTINATION tersor)
