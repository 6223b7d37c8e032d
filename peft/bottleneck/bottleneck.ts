/**
 * Bottleneck adapters: small networks up(act(down(z))) beside attention and MLP of each block, with the fields, formulas
 * and files of AdapterHub's `adapters` (`peft` has no such method). Houlsby et al. 2019 (arXiv:1902.00751) puts one after
 * both parts, Pfeiffer et al. 2020 (arXiv:2005.00247) one after the MLP, He et al. 2021 (arXiv:2110.04366) one beside it.
 * @module
 */

import type { PeftMethod } from "../methods/method.ts";
import { blockNames } from "../targets/default_targets.ts";
import { BottleneckConfig } from "./bottleneck_config.ts";
import { hubFormat } from "./bottleneck_format.ts";
import { BottleneckLayer } from "./bottleneck_layer.ts";
import type { BottleneckOrigin } from "./hub_config.ts";
import { type Module, SubBlock } from "../../nn/mod.ts";

/** Bottleneck adapters, for the registry. */
export const bottleneck: PeftMethod<BottleneckConfig> = {
  name: "bottleneck",
  resolve: (config, modelType, model) => {
    const { list, attention, mlp, hasNormsAfter } = blockNames("bottleneck", modelType);
    const { mhAdapter, outputAdapter, leaveOut, originalLnAfter } = config;
    if (hasNormsAfter && !originalLnAfter) {
      throw new RangeError(
        `Cannot apply bottleneck: original_ln_after must be true for ${modelType}, whose blocks add the stream after a norm of their own, received false`,
      );
    }
    return {
      targetModules: [...(mhAdapter ? [attention] : []), ...(outputAdapter ? [mlp] : [])],
      excludeModules: leaveOut.length > 0
        ? `(.*\\.)?${list}\\.(${leaveOut.join("|")})\\.(${attention}|${mlp})`
        : null,
      origin: originOf(model),
    };
  },
  configFromJSON: (json) => BottleneckConfig.fromJSON(json),
  supports: (module) => module instanceof SubBlock || module instanceof BottleneckLayer,
  wrap: (module, state) => new BottleneckLayer(module as SubBlock, state),
  unmergeable: "a bottleneck is a network, not a change of a weight",
  format: hubFormat,
};

function originOf(model: Module): BottleneckOrigin {
  const { config, facts } = model as {
    config?: { modelType?: string; nameOrPath?: string | null; toJSON?(): Record<string, unknown> };
    facts?: { hiddenSize: number };
  };
  const [written] = [config?.toJSON?.().architectures ?? []].flat();
  return {
    hiddenSize: facts?.hiddenSize ?? 0,
    modelClass: typeof written === "string" ? written : model.constructor.name,
    modelName: config?.nameOrPath ?? "",
    modelType: config?.modelType ?? "",
  };
}
