/**
 * Functions and methods that a page's first calls to `inference.js` do without, and the calls that begin again once they are
 * there. `tests/browser/find_cold_functions.ts` writes the list.
 * @module
 */

import type { Names, Restarted } from "./late_functions.ts";

/** A list of modules, each with the names that follow it. */
const listed = (text: string): Names =>
  Object.fromEntries(
    text.replaceAll(/\n +/g, " ").trim().split("\n").filter((line) => line !== "").map((line) => {
      const [path, names] = line.split(": ");
      return [path, names.split(", ")];
    }),
  );

/** Public calls that a page awaits: when they meet a function that is not there, they begin again with it. */
export const RESTARTED: Restarted = {
  "model/auto.ts": { "AutoModelForCausalLM.fromPretrained": { loadsAfter: false } },
  "model/causal_lm.ts": { "CausalLM.generate": { loadsAfter: true } },
  "model/tokenizer/auto.ts": { "static AutoTokenizer.fromPretrained": { loadsAfter: false } },
  "peft/peft_model.ts": {
    "static PeftModel.fromPretrained": { loadsAfter: false },
    "PeftModel.generate": { loadsAfter: false },
  },
};

/** What is left to a file of its own. */
export const COLD: Names = listed(`
autograd/dtype.ts: holdsBytes, storageRule, loadHalfFormats, loadQuantizedFormats, viewAs
autograd/ops/_attention_launch.ts: inParts
autograd/ops/_linear_products.ts: gateName
autograd/ops/_matmul.ts: launchEach, launchParts, launchInSteps
autograd/ops/_matmul_windows.ts: rowsOfWindow, restOf, isTooLarge
autograd/ops/_strided.ts: scatter
autograd/ops/attention.ts: causalSelfAttention
autograd/ops/movement.ts: reshape, permute, transpose, concat, writeRows, expand
autograd/ops/pointwise.ts: unary, softcap, subtract, multiply, divide
autograd/ops/sample.ts: wordTable, TokenSampler.chosen, TokenSampler.#ban, TokenSampler.#banRepeats,
  TokenSampler.#banWords, TokenSampler.#place
autograd/random.ts: set RandomState.seed, set RandomState.step, RandomState.nextCall, get RandomState.place,
  RandomState.from, RandomState.#change
autograd/scope.ts: partsOf
autograd/shape.ts: broadcastShapes, nestedShape, raggedError
autograd/tape.ts: backward
autograd/tensor.ts: get Tensor.isShared, Tensor.attach, Tensor.data, Tensor.item, Tensor.copy, fromBytes, toData
autograd/windows.ts: splitRows, splitElements
gpu/default_device.ts: currentDevice
gpu/device.ts: get Device.isFallback, get Device.maxLoopIterations, set Device.memoryLimitBytes, get Device.stats,
  Device.copy, Device.submit, Device.sync, Device.capture
gpu/pipeline_cache.ts: compileError
io/checkpoint.ts: openByIndex
io/file_source.ts: memorySource
io/foreign_text.ts: foreignText
io/gguf_source.ts: namedIn, inPlaceOf, besideNames
io/model_folder.ts: lookUpFolder, lookUpCheckpoint
io/open_file.ts: pathOf, nameOfBytes, openPath, openAddress, pathFolder, openInput, readAll, isWebAddress, openOther,
  filesFolder, handleFolder
io/relative_path.ts: defectOf
kernels/attention_options.ts: dropoutFunctions, documentFunction
kernels/attention_seen.ts: shownKey, shownKeys, queryStart, firstKey
kernels/matmul_operand.ts: oneStep, lastStepReads
kernels/matmul_register.ts: lastSteps
kernels/pointwise.ts: unaryForward
kernels/weights/weight_format.ts: rowStep
model/attention_state.ts: extendMask, maskOfRows
model/auto.ts: fromGguf
model/causal_lm.ts: get CausalLM.promptFacts, get CausalLM.ggufFormat, get CausalLM.isCapturable,
  CausalLM.captureInputs, get CausalLM.isGradientCheckpointing, CausalLM.gradientCheckpointingEnable,
  CausalLM.gradientCheckpointingDisable, get CausalLM.neftuneNoiseAlpha, set CausalLM.neftuneNoiseAlpha,
  CausalLM.forward, CausalLM.numParameters, CausalLM.savePretrained, CausalLM.pushToHub
model/checkpoint.ts: refuseFolder
model/decoder.ts: Decoder.#positions, Decoder.#endOf, get Decoder.gradientCheckpointing,
  set Decoder.gradientCheckpointing, set Decoder.neftuneNoiseAlpha, Decoder.#checkpointed, withNoise, withPrompt
model/generation/generation.ts: checkTokenId
model/generation/generation_config.ts: isNumber
model/generation/kv_cache.ts: KVCache.fits, KVCache.reserve, KVCache.crop, KVCache.prefill, KVCache.copyTokens,
  KVCache.reorder
model/generation/prompts.ts: positionsOf
model/inputs.ts: checkInputNames, toMaskRows
model/output.ts: get CausalLMOutput.logits, CausalLMOutput.ownedTensors, CausalLMOutput.dispose,
  CausalLMOutput.#forget
model/parameter_source.ts: randomSource
model/safetensors_weights.ts: quantizedIn, converter, SafetensorsWeights.ignores
model/tokenizer/auto.ts: builtIn, isLocalFolder, readGguf, besideNames
model/tokenizer/check.ts: checkScoredTokens, checkPatterns
model/tokenizer/files.ts: readBuiltIn, addTemplates, readOlderFiles
nn/activation.ts: gatedActivation
nn/conv1d.ts: Conv1D.prepare
nn/dropout.ts: set Dropout.p
nn/init.ts: Initializer.normal, Initializer.truncatedNormal, Initializer.constant
nn/linear.ts: Linear.headWeight
nn/module.ts: Module.requiresGrad_, Module.loadStateDict, Module.clone, ModuleDict.rename, ParameterDict.set,
  ParameterDict.rename
nn/sub_block.ts: SubBlock.forwardNormed
options/names.ts: editDistance
options/rules.ts: shown
options/table.ts: toDisk
peft/adaptable_model.ts: switchCheckpointing, captureInputsOf
peft/adapters/adapter_names.ts: mergeChoice, mixedTypes
peft/adapters/adapter_switch.ts: AdapterSwitch.set
peft/adapters/find_adapters.ts: hostOf, tunerOf, unmixedTunerOf
peft/adapters/gradient_flags.ts: GradientFlags.inherit
peft/adapters/insert_adapter.ts: withoutModules, trainWhole, isShared
peft/adapters/run_model.ts: runForward
peft/adapters/shared_parts.ts: noBudget, get SharedParts.changeRanks, SharedParts.savedTensors,
  SharedParts.updateAndAllocate, SharedParts.rename, SharedParts.trainingState, SharedParts.loadTrainingState,
  trainingStateOf
peft/adapters/tuner.ts: Tuner.savedTensors, Tuner.forward, get Tuner.changesRanks, Tuner.updateAndAllocate,
  Tuner.trainingState, Tuner.loadTrainingState, Tuner.#changeConfigs, Tuner.changeConfig, Tuner.#biases, Tuner.merge,
  Tuner.unmerge, Tuner.rename
peft/config/method_config.ts: writeFields
peft/config/rules.ts: isTokens
peft/files/adapter_files.ts: converted, refuseFolder
peft/files/adapter_source.ts: ggufOf, inGguf
peft/layers/adapted_linear.ts: gatedAfter, AdapterTable.has, AdapterTable.rename, AdaptedLinear.#mixed,
  AdaptedLinear.headWeight, AdaptedLinear.#place, AdaptedLinear.renameAdapter, AdaptedLinear.lowRank,
  AdaptedLinear.setScale, AdaptedLinear.scaleLayer, AdaptedLinear.unscaleLayer, AdaptedLinear.mergeObstacle,
  AdaptedLinear.merge, AdaptedLinear.mergedWeights
peft/layers/linear_call.ts: addTerm, runInSteps, addTerms
peft/layers/rename_adapter.ts: isByAdapter, renameIn, renameKey
peft/lora/eva_config.ts: evaToJSON
peft/lora/loftq_config.ts: loftQToJSON
peft/lora/lora_config.ts: parseInit, checkEvenRank, LoraConfig.toJSON
peft/lora/lora_linear.ts: numbersOf, replaceWeight, biasStart, withBias, mergingOf, LoraLinear.#magnitudeStart,
  LoraLinear.#of, LoraLinear.#withDora, LoraLinear.mergedWeight, LoraLinear.headWeight, makeLoraBesideOthers
peft/lora/lora_site.ts: zeroB
peft/lora/low_rank.ts: isLowRankLayer, lowRankLayers
peft/lora/nested_options.ts: completeNested, nestedFromDisk
peft/operations/scale_adapters.ts: setScale
peft/operations/switch_adapters.ts: trainableNames, deleteFrom, setGradients
peft/parameter_counts.ts: countParameters, describeParameters
peft/peft_model.ts: get PeftModel.isCapturable, PeftModel.forward, PeftModel.updateAndAllocate,
  PeftModel.gradientCheckpointingEnable, PeftModel.gradientCheckpointingDisable, get PeftModel.neftuneNoiseAlpha,
  set PeftModel.neftuneNoiseAlpha, PeftModel.getNbTrainableParameters, PeftModel.printTrainableParameters,
  PeftModel.addAdapter, PeftModel.addWeightedAdapter, PeftModel.deleteAdapter, PeftModel.renameAdapter,
  PeftModel.setRequiresGrad, PeftModel.disableAdapterLayers, PeftModel.enableAdapterLayers, PeftModel.setScale,
  PeftModel.mergeAdapter, PeftModel.mergeAndUnload, PeftModel.savePretrained, PeftModel.pushToHub,
  PeftModel.loadAdapter
peft/registry.ts: loadMethods, loadOther
peft/state/adapter_state.ts: AdapterState.forRows, AdapterState.rename
peft/state/by_sample.ts: partOfOptions, bySample
peft/state/lora_scaling.ts: LoraScaling.initial, LoraScaling.setScale, LoraScaling.scale, LoraScaling.unscale,
  LoraScaling.rename
peft/targets/default_targets.ts: namesOf, defaultTargets
peft/targets/names.ts: nearestNames, quoteAll, quoteSome
peft/targets/targets.ts: layerIndex, isInBlocks, candidates, refuseTargets
`);
