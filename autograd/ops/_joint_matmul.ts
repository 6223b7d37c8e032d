/**
 * Launches several matrix products at once where they fit one launch: see kernels/matmul_joint.ts. Where they do not, each
 * is launched by itself. The numbers are the same to the bit.
 * @module
 */
import type { BufferView } from "../../gpu/mod.ts";
import {
  bindingNames,
  canShare,
  jointMatmulKernel,
  type JointPart,
  type MatmulOrder,
  type MatmulParam,
  partParam,
} from "../../kernels/matmul.ts";
import { bufferNames, formatNamed } from "../../kernels/weights/mod.ts";
import {
  launchMatmul,
  type MatmulCall,
  type MatmulPlan,
  type MatmulTarget,
  MAX_SHARED_K,
  planMatmul,
} from "./_matmul.ts";

/** Most products of one launch: their parameters fill a slot of the uniform buffer. */
const MAX_PARTS = 3;

/** What is bound for a joint launch so far. */
interface Bound {
  readonly view: BufferView;
  readonly type: string;
  writes: boolean;
}

/** A launch in the making. */
interface Joint {
  readonly parts: JointPart[];
  readonly plans: MatmulPlan[];
  readonly bound: Map<string, Bound>;
}

/** Whether two products can share workgroups. */
function goTogether(one: MatmulPlan, other: MatmulPlan, order: MatmulOrder): boolean {
  return canShare(one.kernel, other.kernel, order) &&
    (order === "beside" || one.params.M === other.params.M && one.params.N === other.params.N);
}

/** Adds a product to a launch; returns false and changes nothing where its buffers do not fit beside the others'. */
function join(joint: Joint, plan: MatmulPlan, most: number): boolean {
  const { kernel, buffers } = plan;
  const { elements, buffers: access } = kernel;
  const shares: Record<string, string> = {};
  const writes = new Set<string>();
  const right = bufferNames(formatNamed(kernel.options.weight), "b"); // read by functions of the part's own
  for (const [name, view] of Object.entries(buffers)) {
    const isWritten = access[name] === "read_write";
    for (const [binding, before] of joint.bound) {
      if (before.view.buffer !== view.buffer) continue;
      const { offset, size } = before.view;
      const isSame = offset === view.offset && size === view.size && before.type === elements[name];
      if (isSame && !right.includes(name)) {
        shares[name] = binding;
        if (isWritten) writes.add(binding);
      } else if (isWritten || before.writes) return false; // WebGPU counts a buffer's uses, wherever they lie
    }
  }
  const part = { kernel, shares };
  const names = bindingNames(part, joint.parts.length);
  const added = Object.keys(buffers).filter((name) => shares[name] === undefined);
  if (joint.bound.size + added.length > most) return false;
  for (const name of added) {
    const bound = { view: buffers[name], type: elements[name], writes: access[name] === "read_write" };
    joint.bound.set(names[name], bound);
  }
  for (const binding of writes) joint.bound.get(binding)!.writes = true;
  joint.parts.push(part);
  joint.plans.push(plan);
  return true;
}

function launch(device: MatmulTarget, { parts, plans, bound }: Joint, order: MatmulOrder): void {
  if (plans.length === 1) {
    const [{ kernel, buffers, params, work }] = plans;
    return device.dispatch(kernel, buffers, params, undefined, work);
  }
  const params: Record<string, number> = {};
  plans.forEach((plan, p) => {
    for (const [name, value] of Object.entries(plan.params)) {
      params[partParam(name as MatmulParam, p)] = value;
    }
  });
  const views = Object.fromEntries([...bound].map(([name, { view }]) => [name, view]));
  const work = plans.reduce((sum, plan) => sum + plan.work, 0);
  device.dispatch(jointMatmulKernel(parts, order), views, params, undefined, work);
}

/**
 * Appends the launches of several products, as few as the device's limits allow. `beside`: they do not read each other's
 * results. `after`: all results have one shape, and one may read or add to those before it at its own elements.
 */
export function launchJoint(device: MatmulTarget, calls: readonly MatmulCall[], order: MatmulOrder): void {
  const most = device.limits.maxStorageBuffersPerShaderStage;
  const mostSteps = device.profile.maxLoopIterations === Infinity ? Infinity : MAX_SHARED_K;
  const plans = calls.map((call) =>
    call.K + (call.extension?.R ?? 0) <= mostSteps ? planMatmul(device, call) : null
  );
  for (let at = 0; at < calls.length;) {
    const joint: Joint = { parts: [], plans: [], bound: new Map() };
    let steps = 0;
    for (const plan of plans.slice(at, at + MAX_PARTS)) {
      if (!plan || joint.plans.length > 0 && !goTogether(joint.plans[0], plan, order)) break;
      steps += plan.params.K + plan.params.R;
      if (steps > mostSteps || !join(joint, plan, most)) break;
    }
    if (joint.plans.length > 0) launch(device, joint, order);
    else launchMatmul(device, calls[at]);
    at += Math.max(1, joint.plans.length);
  }
}
