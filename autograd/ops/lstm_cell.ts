/**
 * One step of a long short-term memory, after its linear maps (`torch.nn.LSTMCell`):
 *   i, f, o = sigmoid of their quarters of `gates`, g = tanh of its;   c' = f c + i g,   h = o tanh(c')
 * Gradient: with t = tanh(c') and e = dc' + dh o (1 - t^2),
 *   di = e g i (1 - i), df = e c f (1 - f), dg = e i (1 - g^2), do = dh t o (1 - o),   dc = e f
 * @see Hochreiter and Schmidhuber 1997, "Long short-term memory"
 * @module
 */

import { lstmCellBackward, lstmCellForward } from "../../kernels/lstm_cell.ts";
import { sameShape, showShape } from "../shape.ts";
import { record } from "../record.ts";
import { empty, type Tensor } from "../tensor.ts";
import { checkFloat } from "./_checks.ts";

/**
 * The next hidden state and cell.
 * @param gates [B, 4 H]: input, forget, cell and output gate before their functions   @param cell [B, H]
 * @returns [2, B, H]: the hidden state, then the cell
 * @throws {TypeError} if the shapes are others
 */
export function lstmCell(gates: Tensor, cell: Tensor): Tensor {
  checkFloat("compute lstmCell", gates);
  checkFloat("compute lstmCell", cell);
  const [rows, hidden] = cell.shape;
  if (cell.shape.length !== 2 || !sameShape(gates.shape, [rows, 4 * hidden])) {
    throw new TypeError(
      `Cannot compute lstmCell: gates [B, 4 H] and cell [B, H] are required, received ${
        showShape(gates.shape)
      } and ${showShape(cell.shape)}`,
    );
  }
  const { device } = cell;
  const next = empty(device, [2, rows, hidden]);
  device.dispatch(lstmCellForward, { gates: gates.view, cell: cell.view, next: next.view }, { rows, hidden });
  return record("lstmCell", {
    inputs: { gates, cell },
    saved: { gates, cell },
    outputs: [next],
    backward: ({ dy: dNext, saved: { gates, cell } }) => {
      const [dGates, dCell] = [empty(device, gates.shape), empty(device, cell.shape)];
      device.dispatch(
        lstmCellBackward,
        {
          gates: gates.view,
          cell: cell.view,
          dNext: dNext.view,
          dGates: dGates.view,
          dCell: dCell.view,
        },
        { rows, hidden },
      );
      return { gates: dGates, cell: dCell };
    },
  });
}
