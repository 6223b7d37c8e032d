/**
 * Memory of a training before it starts.
 * @module
 */

export { type PlannedModel } from "./copy_model.ts";
export {
  findLargestBatch,
  MemoryBudgetError,
  type MemoryBytes,
  type MemoryPlan,
  planMemory,
  type PlanOptions,
} from "./memory_plan.ts";
