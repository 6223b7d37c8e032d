/**
 * Singular values and QR in float64, in plain loops.
 * @module
 */

/** Singular values of x [m, n], falling: one-sided Jacobi rotations of the columns (Hestenes 1958). */
export function singularValues(x: ArrayLike<number>, m: number, n: number): number[] {
  const wide = m < n;
  const [rows, cols] = wide ? [n, m] : [m, n];
  const columns = Array.from(
    { length: cols },
    (_, j) => Float64Array.from({ length: rows }, (_, i) => wide ? x[j * n + i] : x[i * n + j]),
  );
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  for (let sweep = 0, turned = true; turned && sweep < 40; sweep++) {
    turned = false;
    for (let p = 0; p < cols; p++) {
      for (let q = p + 1; q < cols; q++) {
        const [a, b] = [columns[p], columns[q]];
        const [aa, bb, ab] = [dot(a, a), dot(b, b), dot(a, b)];
        if (Math.abs(ab) <= 1e-14 * Math.sqrt(aa * bb)) continue;
        turned = true;
        const angle = 0.5 * Math.atan2(2 * ab, aa - bb);
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        columns[p] = a.map((v, i) => c * v + s * b[i]);
        columns[q] = b.map((v, i) => c * v - s * a[i]);
      }
    }
  }
  return columns.map((column) => Math.sqrt(dot(column, column))).sort((a, b) => b - a);
}

/** R of x [m, n], m >= n, by Householder reflections with LAPACK's signs: [n, n]. */
export function upperTriangle(x: ArrayLike<number>, m: number, n: number): Float64Array {
  const a = Float64Array.from(x);
  for (let j = 0; j < n; j++) {
    let tail = 0;
    for (let i = j + 1; i < m; i++) tail += a[i * n + j] ** 2;
    if (tail === 0) continue;
    const alpha = a[j * n + j];
    const pivot = (alpha >= 0 ? -1 : 1) * Math.sqrt(alpha * alpha + tail);
    const v = Float64Array.from({ length: m }, (_, i) => i < j ? 0 : i === j ? alpha - pivot : a[i * n + j]);
    const length = v.reduce((sum, w) => sum + w * w, 0);
    for (let c = j; c < n; c++) {
      let meet = 0;
      for (let i = j; i < m; i++) meet += v[i] * a[i * n + c];
      for (let i = j; i < m; i++) a[i * n + c] -= 2 * meet / length * v[i];
    }
  }
  return Float64Array.from({ length: n * n }, (_, i) => i % n >= Math.floor(i / n) ? a[i] : 0);
}
