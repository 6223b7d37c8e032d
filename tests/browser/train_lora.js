/**
 * Trains a tiny LoRA: run by the browser test in a page on the bundle, and in Deno on mod.ts.
 * @module
 */

/**
 * @param {object} lib the public names of the library
 * @returns {Promise<{ losses: number[], trainable: string[], frozenChanged: boolean, logitsShape: number[] }>}
 */
export async function trainLora(lib) {
  const device = await lib.initDevice();
  const config = new lib.GPT2Config({
    vocabSize: 61,
    nPositions: 16,
    nEmbd: 32,
    nLayer: 2,
    nHead: 4,
    residPdrop: 0,
    embdPdrop: 0,
    attnPdrop: 0,
    initializerRange: 0.2,
    bosTokenId: 60,
    eosTokenId: 60,
  });
  const model = new lib.GPT2LMHeadModel(config, { device, seed: 1 });
  // Drawn on the host: log and cos of drivers differ in more than the last bit, and training would carry that on.
  const random = new lib.HostRandom(1);
  for (const parameter of model.parameters()) {
    if (parameter.shape.length === 2) parameter.write(random.normals(parameter.size, 0.2));
  }
  const loraConfig = new lib.LoraConfig({ r: 4, loraAlpha: 8, targetModules: ["c_attn", "c_fc"] });
  const peftModel = lib.getPeftModel(model, loraConfig);
  const parameters = [...peftModel.namedParameters()];
  const trainable = parameters.filter(([, parameter]) => parameter.requiresGrad);
  const [, frozen] = parameters.find(([name]) => name.endsWith("h.0.attn.c_attn.base_layer.weight"));
  const before = await frozen.data();

  const inputIds = [
    Array.from({ length: 13 }, (_, i) => (i * 7) % 61),
    Array.from({ length: 13 }, (_, i) => (i * 5) % 61),
  ];
  const optimizer = new lib.AdamW(trainable.map(([, parameter]) => parameter), { lr: 0.02 });
  const losses = [];
  for (let step = 0; step < 8; step++) {
    optimizer.zeroGrad();
    const { loss } = peftModel.forward({ inputIds, labels: inputIds });
    loss.backward();
    optimizer.step();
    losses.push(await loss.item());
  }
  const after = await frozen.data();
  return {
    losses,
    trainable: trainable.map(([name]) => name),
    frozenChanged: before.some((value, i) => value !== after[i]),
    logitsShape: [...peftModel.forward({ inputIds }).logits.shape],
  };
}
