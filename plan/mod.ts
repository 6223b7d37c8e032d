/**
 * Memory of a training before it starts.
 * @module
 */

export { type PlannedModel } from "./copy_model.ts";
export {
  type AdapterSize,
  findLargestBatch,
  MemoryBudgetError,
  type MemoryBytes,
  type MemoryPlan,
  planAdapter,
  planMemory,
  type PlanOptions,
} from "./memory_plan.ts";
