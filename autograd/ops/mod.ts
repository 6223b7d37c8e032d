/**
 * Every op.
 * @module
 */

export { cachedAttention, causalSelfAttention } from "./attention.ts";
export { attendToCache, attention, prefixedAttention } from "./key_value_attention.ts";
export { addNoise } from "./add_noise.ts";
export { blockDropout } from "./block_dropout.ts";
export { cast, readNumbers } from "./cast.ts";
export { cayley } from "./cayley.ts";
export { type CrossEntropyOptions, headChunk } from "./_head_pass.ts";
export { crossEntropy, type HeadLossOptions, linearCrossEntropy } from "./cross_entropy.ts";
export { linearLogProbs, linearMeanLogits, logProbsOf, type LogProbsOptions } from "./log_probs.ts";
export { addDiagonal } from "./diagonal.ts";
export { drawNormal, drawUniform } from "./draw.ts";
export { type Documents, documentsOf, type DocumentsOptions, positionsInDocuments } from "./documents.ts";
export { checkDropout } from "./_checks.ts";
export { dropout } from "./dropout.ts";
export { embedding } from "./embedding.ts";
export { gatedProduct, type GateName } from "./gated_product.ts";
export { type Importance, updateImportance } from "./importance.ts";
export { layerNorm, type LayerNormOptions } from "./layer_norm.ts";
export { jointGatedLinear, jointLinear, type LinearLayer, type LoraTerm } from "./joint_linear.ts";
export {
  type Gate,
  linear,
  type LinearOptions,
  loraLinear,
  type LoraLinearOptions,
  type WeightLayout,
} from "./linear.ts";
export { lstmCell } from "./lstm_cell.ts";
export { matmul, type MatmulOpOptions } from "./matmul.ts";
export { type LoraFactorPair, mixedLoraLinear, type StackedLora, stackLora } from "./mixed_lora.ts";
export { concat, expand, permute, reshape, slice, transpose, writeRows } from "./movement.ts";
export {
  add,
  divide,
  exp,
  gelu,
  geluNew,
  isPositive,
  log,
  log1mExp,
  logSigmoid,
  multiply,
  negate,
  type Operand,
  relu,
  scale,
  sigmoid,
  silu,
  softcap,
  sqrt,
  square,
  subtract,
  tanh,
} from "./pointwise.ts";
export { qr } from "./qr.ts";
export { max, mean, type ReduceOptions, sum, sumSquares } from "./reduce.ts";
export { replaceRows } from "./replace_rows.ts";
export { rmsNorm, type RMSNormOptions } from "./rms_norm.ts";
export { type HeadsOptions, placeHeads, type Rotation } from "./rotary.ts";
export { type BannedWords, loadSampling, type SamplerOptions, TokenSampler } from "./sample.ts";
export { logSoftmax, softmax } from "./softmax.ts";
export { type Svd, svd, svdLowrank } from "./svd.ts";
export { chooseRows, placeRows, type RowChoice, takeRows } from "./take_rows.ts";
export { dequantize } from "./dequantize.ts";
export { type BitsandbytesParts, packBitsandbytes, quantize, quantizeNow } from "./quantize.ts";
