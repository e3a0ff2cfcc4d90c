# _core: cpp/bindings/bind_<room>.cpp defines void bind_<room>(pybind11::module_&); the list of rooms is
# written for module.cpp from the files that are there.

find_package(pybind11 3.0 CONFIG QUIET)
if(NOT pybind11_FOUND)
  tersor_locate(config pybind11 pybind11Config.cmake)
  cmake_path(GET config PARENT_PATH pybind11_DIR)
  find_package(pybind11 3.0 CONFIG REQUIRED)
endif()

file(GLOB bind_files CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cpp/bindings/bind_*.cpp")
set(rooms "")
foreach(file IN LISTS bind_files)
  string(REGEX REPLACE ".*/bind_([a-z0-9_]+)\\.cpp$" "\\1" room "${file}")
  list(APPEND rooms ${room})
endforeach()
# Types of these rooms appear in the signatures of the others, so they are registered first.
foreach(room graph quantization tensor base)
  if(room IN_LIST rooms)
    list(REMOVE_ITEM rooms ${room})
    list(PREPEND rooms ${room})
  endif()
endforeach()
list(TRANSFORM rooms REPLACE "(.+)" "TERSOR_BIND(\\1)")
string(JOIN "\n" text ${rooms})
file(CONFIGURE OUTPUT generated/bind_rooms.inc CONTENT "${text}\n")

# The other files beside them hold parts of a room that would make its file too long.
file(GLOB binding_files CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cpp/bindings/*.cpp")
pybind11_add_module(_core MODULE NO_EXTRAS ${binding_files})
target_include_directories(_core PRIVATE cpp/bindings)
target_link_libraries(_core PRIVATE tersor tersor_flags)
# Bindings only convert and call: optimising their templates further doubles the time of the build.
target_compile_options(_core PRIVATE -O1)
# Most of the time of a file was reading these.
target_precompile_headers(_core PRIVATE <pybind11/functional.h> <pybind11/numpy.h> <pybind11/pybind11.h> <pybind11/stl.h>)
set_target_properties(_core PROPERTIES INSTALL_RPATH "$ORIGIN")
install(TARGETS _core LIBRARY DESTINATION tersor)
