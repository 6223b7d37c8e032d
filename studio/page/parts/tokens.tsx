/**
 * Text in the pieces that a model sees, coloured by what is learned of it, or by how it surprised the model.
 * @module
 */
import type { JSX } from "preact";
import type { MaskedExample } from "../../protocol.ts";

/** Loss at which the colour is full, in nats. */
const FULL_LOSS = 6;

/** What is learned is coloured, what is only read is grey. */
export function MaskedTokens({ example }: { example: MaskedExample }): JSX.Element {
  return (
    <p class="tokens">
      {example.tokens.map(({ text, trained }, place) => (
        <span key={place} class={trained ? "learned" : "read"}>{text}</span>
      ))}
    </p>
  );
}

/** Legend of {@linkcode MaskedTokens}. */
export function MaskLegend(): JSX.Element {
  return (
    <p class="legend">
      <span class="tokens-key learned">learned</span>
      <span>the model learns to say this</span>
      <span class="tokens-key read">read</span>
      <span>it only reads this</span>
    </p>
  );
}

/** The more a token surprised the model, the stronger its colour. */
export function LossTokens(
  { tokens }: { tokens: readonly { readonly text: string; readonly loss: number | null }[] },
): JSX.Element {
  return (
    <p class="tokens">
      {tokens.map(({ text, loss }, place) =>
        loss === null ? <span key={place} class="read">{text}</span> : (
          <span
            key={place}
            class="cost"
            title={`${loss.toFixed(2)} nats`}
            style={{ "--cost-part": `${Math.round(100 * Math.min(1, Math.max(0, loss) / FULL_LOSS))}%` }}
          >
            {text}
          </span>
        )
      )}
    </p>
  );
}

/** Legend of {@linkcode LossTokens}. */
export function LossLegend(): JSX.Element {
  return (
    <p class="legend">
      <span>expected</span>
      <span class="scale" aria-hidden="true" />
      <span>surprising</span>
      <span class="quiet">0 to {FULL_LOSS} nats per token</span>
    </p>
  );
}
