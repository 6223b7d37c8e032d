/**
 * Every kernel of the library, for the checks that walk them all and for printing one.
 * @module
 */
import {
  adafactorApply,
  adafactorColumns,
  adafactorFinish,
  adafactorRows,
  adafactorSquares,
} from "./adafactor.ts";
import { attentionKernelList } from "./attention.ts";
import { attentionAppend } from "./attention_cache.ts";
import { adamwKernel } from "./adamw.ts";
import { adamw8bitKernel } from "./adamw_8bit.ts";
import { blockDropoutKernel } from "./block_dropout.ts";
import { banRepeats } from "./ban_repeats.ts";
import { banWords } from "./ban_words.ts";
import { castKernels } from "./cast.ts";
import {
  capLogits,
  crossEntropyGradient,
  crossEntropyRows,
  crossEntropySegments,
  crossEntropyWeighted,
  meanDivisor,
  shiftLabels,
} from "./cross_entropy.ts";
import { addDiagonalKernel, invertStep } from "./square_matrices.ts";
import { documentPositions, documentStarts } from "./documents.ts";
import { addNoiseKernel, dropoutKernel } from "./random_elementwise.ts";
import { embeddingBackward, embeddingForwardKernels, embeddingLinks } from "./embedding.ts";
import { clipGradients, gradNormFinish, gradNormPartials } from "./grad_norm.ts";
import type { KernelSpec } from "./kernel_spec.ts";
import { flagNonFinite } from "./non_finite.ts";
import { quantizeRows } from "./quantize_rows.ts";
import { importanceKernel } from "./importance.ts";
import {
  layerNormBackwardInput,
  layerNormBackwardInputAdd,
  layerNormBackwardParams,
  layerNormForward,
  layerNormParamsSum,
} from "./layer_norm.ts";
import { lionKernel } from "./lion.ts";
import { lstmCellBackward, lstmCellForward } from "./lstm_cell.ts";
import { jointMatmulKernels, matmulKernels } from "./matmul.ts";
import { tallyLoss, tallySums } from "./loss_tally.ts";
import { mixedLoraKernels } from "./mixed_lora.ts";
import { pointwiseKernels } from "./pointwise.ts";
import { qrForm, qrReduce, qrUnpack } from "./qr.ts";
import { randomFill } from "./random.ts";
import { maxReduceHits, maxReduceShare, reduceKernels } from "./reduce.ts";
import {
  rmsNormBackwardInput,
  rmsNormBackwardInputAdd,
  rmsNormBackwardWeight,
  rmsNormForward,
  rmsNormForwardAdd,
} from "./rms_norm.ts";
import { gatedProductBackward, gatedProductForward } from "./gated_product.ts";
import { joinHeads, partHeads, turnHeads, turnHeadsBack, turnHeadsInPlace } from "./rotary.ts";
import { greedyTokens } from "./choose_token.ts";
import { sampleTokens } from "./sample.ts";
import { sgdKernel, sgdMomentumKernel } from "./sgd.ts";
import { softmaxBackward, softmaxForward } from "./softmax.ts";
import { addTokenStats, tokenStats } from "./token_stats.ts";
import { adafactorDecay, adamwCorrections, sgdFirstStep } from "./step_counts.ts";
import { gatherStrided, scatterStrided } from "./strided_copy.ts";
import { svdLengths, svdRotate, svdSort } from "./svd.ts";

/** Every kernel, generated variants with their default options included; names are unique. */
export function allKernels(): KernelSpec[] {
  const rowFamilies = [
    layerNormForward,
    layerNormBackwardInput,
    layerNormBackwardInputAdd,
    rmsNormForward,
    rmsNormForwardAdd,
    rmsNormBackwardInput,
    rmsNormBackwardInputAdd,
    softmaxForward,
    softmaxBackward,
  ];
  const single = [
    ...rowFamilies.flatMap((family) => Object.values(family).flatMap((widths) => Object.values(widths))),
    ...Object.values(reduceKernels),
    layerNormBackwardParams,
    layerNormParamsSum,
    maxReduceHits,
    maxReduceShare,
    gatherStrided,
    scatterStrided,
    ...embeddingForwardKernels(),
    embeddingLinks,
    embeddingBackward,
    dropoutKernel,
    addNoiseKernel,
    randomFill,
    shiftLabels,
    meanDivisor,
    crossEntropySegments,
    crossEntropyWeighted,
    crossEntropyRows,
    capLogits,
    crossEntropyGradient,
    attentionAppend,
    documentStarts,
    documentPositions,
    rmsNormBackwardWeight,
    ...Object.values(gatedProductForward),
    ...Object.values(gatedProductBackward),

    turnHeads,
    turnHeadsInPlace,
    turnHeadsBack,
    joinHeads,
    partHeads,
    banRepeats,
    banWords,
    greedyTokens,
    sampleTokens,
    adamwCorrections,
    sgdFirstStep,
    adafactorDecay,
    adafactorRows,
    adafactorColumns,
    adafactorFinish,
    adafactorSquares,
    adafactorApply,
    ...[1, 3].flatMap((slots) => [
      adamwKernel(slots),
      adamw8bitKernel(slots),
      lionKernel(slots),
      sgdKernel(slots),
      sgdMomentumKernel(slots),
      gradNormPartials(slots),
      clipGradients(slots),
    ]),
    gradNormFinish,
    tallyLoss,
    flagNonFinite,
    tokenStats,
    addTokenStats,
    tallySums,
    lstmCellForward,
    lstmCellBackward,
    ...Object.values(svdRotate).flatMap((widths) => Object.values(widths)),
    ...Object.values(svdLengths),
    svdSort,
    ...Object.values(qrReduce),
    ...Object.values(qrForm),
    qrUnpack,
    importanceKernel,
    invertStep,
    addDiagonalKernel,
    blockDropoutKernel,
    quantizeRows,
  ];
  const families = [
    ...castKernels(),
    ...matmulKernels(),
    ...jointMatmulKernels(),
    ...mixedLoraKernels(),
    ...attentionKernelList(),
  ];
  return [...pointwiseKernels(), ...[...single, ...families] as unknown as KernelSpec[]];
}
