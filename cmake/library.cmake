# libtersor.so: every room of cpp/tersor, found by glob, so a new file needs no line here.

list(TRANSFORM TERSOR_ROOMS REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/cpp/tersor/\\1/*.cpp"
     OUTPUT_VARIABLE patterns)
file(GLOB sources CONFIGURE_DEPENDS ${patterns})

add_library(tersor SHARED)
add_library(tersor::tersor ALIAS tersor)
tersor_add_sources(tersor ${sources})

configure_file(cpp/tersor/base/config.h.in generated/tersor/base/config.h)
target_include_directories(tersor PUBLIC
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/cpp>"
  "$<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/generated>")
set_source_files_properties("${PROJECT_SOURCE_DIR}/cpp/tersor/base/config.cpp" PROPERTIES
  COMPILE_DEFINITIONS "TERSOR_COMPILER=\"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\";TERSOR_BUILD_TYPE=\"${CMAKE_BUILD_TYPE}\"")
target_link_libraries(tersor PRIVATE "$<BUILD_INTERFACE:tersor_flags>" Threads::Threads)
if(TERSOR_HAVE_EIGEN)
  target_link_libraries(tersor PRIVATE Eigen3::Eigen)
endif()
if(TERSOR_HAVE_ONEDNN)
  target_link_libraries(tersor PRIVATE tersor_dnnl)
endif()
# nodelete: sleeping worker threads outlive a dlclose().
target_link_options(tersor PRIVATE
  -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/libtersor.map -Wl,-z,nodelete)
set_target_properties(tersor PROPERTIES
  INSTALL_RPATH "$ORIGIN"
  LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/libtersor.map")
if(NOT TERSOR_SANITIZE)
  target_link_options(tersor PRIVATE -Wl,--no-undefined)
endif()

# ---- install: everything native lies in the package folder, which may be moved as a whole.
install(TARGETS tersor LIBRARY DESTINATION tersor)
if(TERSOR_HAVE_ONEDNN)
  install(FILES "${TERSOR_DNNL_FILE}" DESTINATION tersor)
  install(FILES ${dnnl_license} ${dnnl_notices} DESTINATION tersor/licenses/onednn)
endif()
install(DIRECTORY cpp/tersor DESTINATION tersor/include
        FILES_MATCHING PATTERN "*.h" PATTERN "*.inc"
        PATTERN "cuda" EXCLUDE PATTERN "*cuda.h" EXCLUDE)  # of _core_cuda only
install(FILES "${PROJECT_BINARY_DIR}/generated/tersor/base/config.h"
        DESTINATION tersor/include/tersor/base)

include(CMakePackageConfigHelpers)
configure_file(cmake/tersorConfig.cmake.in tersorConfig.cmake @ONLY)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tersorConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/tersorConfig.cmake"
              "${PROJECT_BINARY_DIR}/tersorConfigVersion.cmake"
        DESTINATION tersor/lib/cmake/tersor)
