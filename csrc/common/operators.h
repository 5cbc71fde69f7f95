// The operators, one line each: its kind and the function that makes it. Every device has
// that function in its own namespace.
#pragma once

#include "trtact/compute.h"
#include "trtact/training.h"

#define TRTACT_OPERATORS(X)                                                     \
  X(TRTACT_OP_CONV, make_conv)                                                  \
  X(TRTACT_OP_CONV_TRANSPOSE, make_conv_transpose)                              \
  X(TRTACT_OP_POOL, make_pool)                                                  \
  X(TRTACT_OP_MATMUL, make_matmul)                                              \
  X(TRTACT_OP_UNARY, make_unary)                                                \
  X(TRTACT_OP_BINARY, make_binary)                                              \
  X(TRTACT_OP_COPY, make_copy)                                                  \
  X(TRTACT_OP_CHANNELS, make_channels)                                          \
  X(TRTACT_OP_RESIZE, make_resize)                                              \
  X(TRTACT_OP_SOFTMAX, make_softmax)                                            \
  X(TRTACT_OP_REDUCE, make_reduce)                                              \
  X(TRTACT_OP_GLOBAL_POOL, make_global_pool)                                    \
  X(TRTACT_OP_QUANTIZE, make_quantize)                                          \
  X(TRTACT_OP_DEQUANTIZE, make_dequantize)                                      \
  X(TRTACT_OP_AFFINE, make_affine)                                              \
  X(TRTACT_OP_REORDER, make_reorder)                                            \
  X(TRTACT_OP_CONV_BACKWARD_DATA, make_conv_backward_data)                      \
  X(TRTACT_OP_CONV_TRANSPOSE_BACKWARD_DATA, make_conv_transpose_backward_data)  \
  X(TRTACT_OP_CONV_BACKWARD_WEIGHTS, make_conv_backward_weights)                \
  X(TRTACT_OP_CONV_TRANSPOSE_BACKWARD_WEIGHTS, make_conv_transpose_backward_weights)\
  X(TRTACT_OP_UNARY_BACKWARD, make_unary_backward)                              \
  X(TRTACT_OP_BINARY_BACKWARD, make_binary_backward)                            \
  X(TRTACT_OP_AFFINE_BACKWARD, make_affine_backward)                            \
  X(TRTACT_OP_POOL_BACKWARD, make_pool_backward)                                \
  X(TRTACT_OP_GLOBAL_POOL_BACKWARD, make_global_pool_backward)                  \
  X(TRTACT_OP_RESIZE_BACKWARD, make_resize_backward)                            \
  X(TRTACT_OP_SOFTMAX_BACKWARD, make_softmax_backward)                          \
  X(TRTACT_OP_REDUCE_BACKWARD, make_reduce_backward)                            \
  X(TRTACT_OP_COPY_BACKWARD, make_copy_backward)                                \
  X(TRTACT_OP_SUM_TO, make_sum_to)                                              \
  X(TRTACT_OP_SUM, make_sum)                                                    \
  X(TRTACT_OP_ACT_QUANTIZE, make_act_quantize)                                  \
  X(TRTACT_OP_ACT_QUANTIZE_BACKWARD, make_act_quantize_backward)                \
  X(TRTACT_OP_QUANTIZE_WEIGHTS, make_quantize_weights)                          \
  X(TRTACT_OP_QUANTIZE_WEIGHTS_BACKWARD, make_quantize_weights_backward)        \
  X(TRTACT_OP_LOSS, make_loss)                                                  \
  X(TRTACT_OP_GRADIENT_NORM, make_gradient_norm)                                \
  X(TRTACT_OP_OPTIMIZE, make_optimize)
