/* training.h: the operators that training adds to compute.h. They are entries of
 * the same table and run like any other: a backward pass, a loss and an optimiser
 * are steps behind the forward steps.
 *
 * Names: dy is the gradient of the loss with respect to y, and so on. [...]
 * marks what may be absent. A gradient has the layout and shape of its tensor,
 * with zero padding lanes. An output "in place" is read as well as written;
 * outputs marked (*) may lie where the input of the same size lies.
 *
 * Sums over a tensor are made in double precision over parts whose borders depend
 * on the shape alone, so they do not change with the number of threads. Only
 * oneDNN's weight gradients (CONV_BACKWARD_WEIGHTS) and matrix products may.
 *
 * What needs no operator of its own:
 *   MATMUL    da = dy bT, db = aT dy: MATMUL with transpose_b, transpose_a; the
 *             bias is SUM_TO. Broadcast batches: SUM_TO behind it.
 *   ADD, SUB  dy itself (or UNARY NEG), behind it SUM_TO where it was broadcast.
 *   MUL       BINARY MUL of dy and the other operand; SUM_TO with two inputs makes
 *             product and sum in one pass where the operand was broadcast.
 *   CHANNELS  CHANNELS with the runs turned round; channels that nobody read are
 *             runs of input -1 (zeros); readers of the same channels: SUM first.
 *   COPY      COPY turned round, where no two elements of y come from one of x:
 *             Transpose, Reshape, Concat, Split, Slice, Pad (with fill 0); that is
 *             faster than COPY_BACKWARD, which is for the others (Expand, Tile).
 *   REORDER   REORDER.
 *   QUANTIZE, DEQUANTIZE  ACT_QUANTIZE without an activation.
 */
#ifndef TRTACT_TRAINING_H
#define TRTACT_TRAINING_H

#include "compute.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  /* dy, w [, scale] -> dx, for y = conv(x, w) * scale[o]. params: trtact_conv
   * (geometry and has_scale are read). */
  TRTACT_OP_CONV_BACKWARD_DATA = 32,
  TRTACT_OP_CONV_TRANSPOSE_BACKWARD_DATA,
  /* x, dy [, scale] -> dw [, dbias], for y = conv(x, w) * scale[o] + bias[o].
   * params: trtact_conv (geometry, has_scale; has_bias asks for dbias). */
  TRTACT_OP_CONV_BACKWARD_WEIGHTS,
  TRTACT_OP_CONV_TRANSPOSE_BACKWARD_WEIGHTS,
  /* x, dy -> dx (*) = act'(x) dy, any layout. params: trtact_activation. */
  TRTACT_OP_UNARY_BACKWARD,
  /* a, b, dy -> (*) dy * df(a, b)/da, or /db, of dy's shape; broadcasting as in
   * BINARY. params: trtact_binary_backward. */
  TRTACT_OP_BINARY_BACKWARD,
  /* x, scale [C], shift [C], dy -> dx (*) [, dscale [C], dshift [C]] of
   * act(x * scale + shift), any layout. params: trtact_activation. */
  TRTACT_OP_AFFINE_BACKWARD,
  /* max: x, dy -> dx, to the first greatest element of each window; average:
   * dy -> dx. params: trtact_pool. */
  TRTACT_OP_POOL_BACKWARD,
  /* max: x, dy -> dx, to the first greatest; mean: dy -> dx. params: trtact_reduce
   * (kind only). */
  TRTACT_OP_GLOBAL_POOL_BACKWARD,
  /* dy -> dx, params: the forward's trtact_resize. */
  TRTACT_OP_RESIZE_BACKWARD,
  /* y, dy -> dx (*). params: trtact_axis. */
  TRTACT_OP_SOFTMAX_BACKWARD,
  /* mean, sum: dy -> dx; max, min (to the first), L2: x, dy -> dx.
   * params: trtact_reduce. */
  TRTACT_OP_REDUCE_BACKWARD,
  /* dy -> dx of one input of a COPY. Elements read several times get the sum of
   * their gradients, elements never read 0. The forward's parts must not overlap
   * in y. params: trtact_copy_backward. */
  TRTACT_OP_COPY_BACKWARD,
  /* dy [, other] -> dy, or dy * other, summed to the output's shape: every output
   * dimension is 1 or dy's, with ONNX's alignment. A BLOCKED dy goes to a tensor
   * that is 1 in all of space: [N or 1, C or 1, 1 ...] PLAIN, [N, C, 1 ...]
   * BLOCKED, or one element. No params. */
  TRTACT_OP_SUM_TO,
  /* x... -> y = sum of x, or with accumulate y += sum of x (in place), equal
   * shapes and layouts. params: trtact_sum. */
  TRTACT_OP_SUM,

  /* x, scale [1] [, clip [1]] -> q [, y] [, absmax [1]]: a = act(x), y = a,
   * absmax = max(absmax, max|a|) in place, with clip a = clamp(a, -clip, clip)
   * (PACT), q = clamp(round(a / scale), low, high), kept as float.
   * params: trtact_act_quantize. */
  TRTACT_OP_ACT_QUANTIZE,
  /* x, scale, dq [, clip] [, dy] -> dx (*) [, dscale [1], with clip dclip [1]].
   * dq is the gradient with respect to scale * q, dy with respect to the output y.
   * Straight-through inside the range, zero outside; dscale as in LSQ times
   * gradient_scale; dclip as in PACT. params: trtact_act_quantize. */
  TRTACT_OP_ACT_QUANTIZE_BACKWARD,
  /* w -> q, scale: scale is absmax / high of each index of the axis (one, for axis
   * -1), and never below the smallest normal number; learned: w, scale -> q.
   * PLAIN. params: trtact_quantize_weights. */
  TRTACT_OP_QUANTIZE_WEIGHTS,
  /* w, scale, dq -> dw (*) [, dscale], dq with respect to scale * q.
   * params: trtact_quantize_weights. */
  TRTACT_OP_QUANTIZE_WEIGHTS_BACKWARD,

  /* student, teacher -> value [2], dstudent. value[0] is the loss, value[1] the
   * loss above what it is at best (soft_label: KL; others: the same). dstudent is
   * d value[0] / d student times weight. Both tensors in one layout.
   * params: trtact_loss. */
  TRTACT_OP_LOSS,

  /* g [n] -> [2]: norm = |scale g|, and scale * max_norm / max(norm, max_norm),
   * the factor for OPTIMIZE (max_norm <= 0: scale). params: trtact_gradient_norm. */
  TRTACT_OP_GRADIENT_NORM,
  /* g [n], control [2] [, norm [2]] -> w [n] [, first [n] [, second [n]]], all in
   * place; control is {learning rate, number of the step from 1}, norm the output
   * of GRADIENT_NORM: where it is not finite, nothing changes. Momentum has first,
   * Adam and AdamW have both.
   * params: trtact_optimize. */
  TRTACT_OP_OPTIMIZE,
};

typedef struct trtact_binary_backward {
  int32_t kind; /* as trtact_binary's */
  int32_t by;   /* 0: by a, 1: by b */
} trtact_binary_backward;

typedef struct trtact_copy_backward {
  trtact_copy forward;
  int32_t input; /* the gradient of this input */
} trtact_copy_backward;

typedef struct trtact_sum {
  int32_t accumulate;
} trtact_sum;

enum { TRTACT_HALF_EVEN = 0, TRTACT_HALF_AWAY };

typedef struct trtact_act_quantize {
  trtact_activation act;
  float low, high;
  int32_t rounding; /* TRTACT_HALF_... */
  int32_t has_clip;
  /* forward only */
  int32_t has_absmax; /* the last output is there */
  /* backward only */
  int32_t has_dy;
  int32_t pass_outside; /* 1: straight-through everywhere, as Paddle's operators */
  float gradient_scale; /* of dscale, LSQ: 1/sqrt(elements * high) */
} trtact_act_quantize;

typedef struct trtact_quantize_weights {
  int32_t axis;
  float low, high;
  int32_t rounding;
  int32_t learned;
  int32_t pass_outside;
  float gradient_scale;
} trtact_quantize_weights;

/* Means are over all that is not said to be summed. p = softmax(teacher / T),
 * s = softmax(student / T), over one group of elements. */
enum {
  TRTACT_LOSS_SOFT_LABEL = 0, /* mean over groups of -sum p log s */
  TRTACT_LOSS_L2,             /* mean of (student - teacher)^2 */
  TRTACT_LOSS_L1,             /* mean of |student - teacher| */
  TRTACT_LOSS_COSINE,         /* mean over groups of 1 - cos(student, teacher) */
  TRTACT_LOSS_CHANNEL_KL,     /* T^2 mean over groups of KL(p, s): "Channel-wise
                                 Knowledge Distillation for Dense Prediction", Shu
                                 et al. 2021, with groups over space */
};
enum {
  TRTACT_OVER_SPACE = -1, /* a group is all of space, for each image and channel */
  TRTACT_OVER_IMAGE = -2, /* a group is all of an image: cosine only */
};
typedef struct trtact_loss {
  int32_t kind;
  int32_t axis;      /* dimension that a group runs along, or TRTACT_OVER_... */
  float temperature; /* T */
  float weight;      /* of the gradient */
} trtact_loss;

typedef struct trtact_gradient_norm {
  float scale, max_norm;
} trtact_gradient_norm;

enum { TRTACT_SGD = 0, TRTACT_MOMENTUM, TRTACT_ADAM, TRTACT_ADAMW };
/* Parameters with their own multiple of the learning rate and weight decay. What
 * lies in no segment stays as it is. */
typedef struct trtact_segment {
  int64_t from, count;
  float rate, decay;
} trtact_segment;
typedef struct trtact_optimize {
  int32_t kind;
  int32_t nesterov;
  float momentum;
  float beta1, beta2, epsilon;
  int32_t n_segments;
  const trtact_segment* segments; /* copied by op_create; they must not overlap */
} trtact_optimize;

#ifdef __cplusplus
}
#endif
#endif
