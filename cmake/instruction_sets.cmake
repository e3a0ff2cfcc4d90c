# Which sources exist for which instruction set, told by the end of the file name:
#   <stem>_avx2.cpp ...   compiled with the flags of that instruction set only
#   <stem>_simd.cpp       compiled once per instruction set of TERSOR_SIMD_SETS
# A file of another processor family is left out.

set(TERSOR_FLAGS_sse42 -msse4.2)
set(TERSOR_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(TERSOR_FLAGS_avxvnni ${TERSOR_FLAGS_avx2} -mavxvnni)
set(TERSOR_FLAGS_avx512 ${TERSOR_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
    # GCC's default of 256-bit vectors suits code that mixes in little SIMD; these files are all SIMD.
    -mprefer-vector-width=512)
set(TERSOR_FLAGS_avx512vnni ${TERSOR_FLAGS_avx512} -mavx512vnni)
set(TERSOR_FLAGS_avx512bf16 ${TERSOR_FLAGS_avx512} -mavx512bf16)
set(TERSOR_FLAGS_neon "")
set(TERSOR_FLAGS_neondot -march=armv8.2-a+dotprod)

set(TERSOR_X86_SETS sse42 avx2 avxvnni avx512 avx512vnni avx512bf16)
set(TERSOR_ARM_SETS neon neondot)
if(TERSOR_X86)
  set(TERSOR_SETS ${TERSOR_X86_SETS})
  set(TERSOR_OTHER_SETS ${TERSOR_ARM_SETS})
  set(TERSOR_SIMD_SETS baseline avx2 avx512)
elseif(TERSOR_ARM64)
  set(TERSOR_SETS ${TERSOR_ARM_SETS})
  set(TERSOR_OTHER_SETS ${TERSOR_X86_SETS})
  set(TERSOR_SIMD_SETS baseline)
else()
  set(TERSOR_SETS "")
  set(TERSOR_OTHER_SETS ${TERSOR_X86_SETS} ${TERSOR_ARM_SETS})
  set(TERSOR_SIMD_SETS baseline)
endif()

# tersor_add_sources(<target> <file>...): adds library sources, each with its flags.
function(tersor_add_sources target)
  string(JOIN "|" here ${TERSOR_SETS})
  string(JOIN "|" elsewhere ${TERSOR_OTHER_SETS})
  foreach(file IN LISTS ARGN)
    if(file MATCHES "_(${elsewhere})\\.cpp$")
      continue()
    elseif(here AND file MATCHES "_(${here})\\.cpp$")
      set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS
                                  "${TERSOR_FLAGS_${CMAKE_MATCH_1}}")
      target_sources(${target} PRIVATE ${file})
    elseif(file MATCHES "/([a-z0-9_]+)/([a-z0-9_]+)_simd\\.cpp$")
      set(room ${CMAKE_MATCH_1})
      set(stem ${CMAKE_MATCH_2})
      foreach(set IN LISTS TERSOR_SIMD_SETS)
        set(copy ${PROJECT_BINARY_DIR}/simd/${room}/${stem}_simd_${set}.cpp)
        file(CONFIGURE OUTPUT ${copy} CONTENT
             "#define TERSOR_SIMD_NAME(op) op##_simd_${set}\n#include \"tersor/${room}/${stem}_simd.cpp\"\n")
        set_source_files_properties(${copy} PROPERTIES COMPILE_OPTIONS "${TERSOR_FLAGS_${set}}")
        target_sources(${target} PRIVATE ${copy})
      endforeach()
    else()
      target_sources(${target} PRIVATE ${file})
    endif()
  endforeach()
endfunction()
