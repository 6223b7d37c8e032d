import { assertEquals } from "@std/assert";
import { WEIGHT_FORMAT_NAMES } from "../../kernels/weights/mod.ts";
import { matmulCandidates } from "../../tuning/candidates.ts";
import { checkMatmulTile } from "../../tuning/check_picks.ts";

Deno.test("checkMatmulTile() takes back every tile that a table picks, with its variants", () => {
  for (const kind of ["software", "hardware"] as const) {
    for (const subgroupSize of kind === "software" ? [0, 4, 8] : [0]) {
      for (const weight of WEIGHT_FORMAT_NAMES) {
        for (const [M, N, K] of [[1, 768, 768], [4, 768, 64], [12, 512, 64], [64, 8, 64], [512, 3072, 768]]) {
          for (const layout of ["nn", "nt", "tn"] as const) {
            const profile = { kind, subgroupSize };
            const shape = { layout, M, N, K, batch: 1, weight };
            for (const tile of matmulCandidates({ profile, features: new Set() }, shape)) {
              assertEquals(checkMatmulTile("a class", { ...tile }, subgroupSize), tile);
            }
          }
        }
      }
    }
  }
});
