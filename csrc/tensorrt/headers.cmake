# The test tensorrt_headers: the shim's source is right for every version of headers in
# TRTACT_TRT_HEADERS. The compiler looks at all and writes nothing, again only when
# something has changed.
file(GLOB checked_folders LIST_DIRECTORIES true CONFIGURE_DEPENDS "${TRTACT_TRT_HEADERS}/*")
if(NOT TRTACT_TRT_HEADERS)
  set(checked_folders "")
endif()
file(GLOB own_headers CONFIGURE_DEPENDS *.h cuda/*.h ../include/trtact/tensorrt.h)
set(stamps "")
foreach(folder IN LISTS checked_folders)
  if(NOT EXISTS "${folder}/NvOnnxParser.h")
    continue()
  endif()
  get_filename_component(name "${folder}" NAME)
  set(stamp "${CMAKE_CURRENT_BINARY_DIR}/${name}.checked")
  add_custom_command(OUTPUT "${stamp}"
    COMMAND ${CMAKE_CXX_COMPILER} -std=c++17 -fsyntax-only -Wall -Wextra -Werror -Wno-deprecated-declarations
      -DTRTACT_TRT_FAMILY=\"${name}\" -I${PROJECT_SOURCE_DIR}/csrc/include -I${PROJECT_SOURCE_DIR}/csrc
      -isystem ${folder} -isystem cuda ${sources}
    COMMAND ${CMAKE_COMMAND} -E touch "${stamp}"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    DEPENDS ${sources} ${own_headers} VERBATIM)
  list(APPEND stamps "${stamp}")
endforeach()
add_custom_target(tensorrt_headers DEPENDS ${stamps})
if(stamps)
  add_test(NAME tensorrt_headers COMMAND ${CMAKE_COMMAND} --build "${PROJECT_BINARY_DIR}" --target tensorrt_headers)
endif()
