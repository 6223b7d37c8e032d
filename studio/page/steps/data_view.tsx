/**
 * What was found in the data: one example as the model sees it, lengths, and rows that could not be read.
 * @module
 */
import type { JSX } from "preact";
import type { DataFacts } from "../../protocol.ts";
import { showCount, showPlural } from "../format.ts";
import { Chart } from "../parts/chart.tsx";
import { Fact, More } from "../parts/words.tsx";
import { MaskedTokens, MaskLegend } from "../parts/tokens.tsx";
import { example, showExample } from "../state/data.ts";
import { isBusy } from "../state/training.ts";

function Example({ facts }: { facts: DataFacts }): JSX.Element {
  const shown = example.value ?? facts.example;
  const turn = (step: number) =>
    showExample((shown.index + step + facts.trainExamples) % facts.trainExamples);
  return (
    <section class="panel" aria-labelledby="one-example">
      <div class="row between">
        <h2 id="one-example">One example, as the model sees it</h2>
        <div class="row tight">
          <button
            type="button"
            class="plain"
            disabled={isBusy.value}
            aria-label="The example before"
            onClick={() => turn(-1)}
          >
            <span aria-hidden="true">←</span>
          </button>
          <span class="number quiet">{shown.index + 1} of {facts.trainExamples}</span>
          <button
            type="button"
            class="plain"
            disabled={isBusy.value}
            aria-label="The next example"
            onClick={() => turn(1)}
          >
            <span aria-hidden="true">→</span>
          </button>
        </div>
      </div>
      <div class="example" tabIndex={0} role="group" aria-label="The example">
        <MaskedTokens example={shown} />
      </div>
      <MaskLegend />
    </section>
  );
}

function Lengths({ facts }: { facts: DataFacts }): JSX.Element {
  const { histogram, shortest, median, longest } = facts.tokens;
  return (
    <section class="panel">
      <Chart
        title="How long the examples are"
        xLabel="tokens"
        unit="examples"
        height={200}
        x={histogram.map(({ from, to }) => (from + to - 1) / 2)}
        curves={[{
          name: "Examples",
          colour: "--accent",
          values: histogram.map(({ count }) => count),
          isBars: true,
        }]}
        note={`From ${shortest} to ${longest} tokens, half of them below ${median}. A token is a word or a part of one.`}
      />
    </section>
  );
}

function BadRows({ facts }: { facts: DataFacts }): JSX.Element | null {
  if (facts.badRowCount === 0) return null;
  return (
    <More
      label={`${showPlural(facts.badRowCount, "row")} could not be read and ${
        facts.badRowCount === 1 ? "is" : "are"
      } left out`}
    >
      <ul class="rows">
        {facts.badRows.map(({ file, line, problem }, place) => (
          <li key={place}>
            <span>{file}{line === null ? "" : `, line ${line}`}: {problem}</span>
          </li>
        ))}
      </ul>
      {facts.badRowCount > facts.badRows.length && (
        <p class="quiet">The first {facts.badRows.length} are listed.</p>
      )}
    </More>
  );
}

/** What was found. */
export function DataView({ facts }: { facts: DataFacts }): JSX.Element {
  const { tokens } = facts;
  return (
    <>
      <section class="panel" aria-labelledby="open-data">
        <h2 id="open-data">{facts.name}</h2>
        <p class="quiet">{facts.format}</p>
        <dl class="facts">
          <Fact name="To learn from">{showPlural(facts.trainExamples, "example")}</Fact>
          <Fact name="Held out">{showPlural(facts.heldOutExamples, "example")}</Fact>
          <Fact name="Words and parts of words" note="tokens in all">{showCount(tokens.total)}</Fact>
          <Fact
            name="Learned"
            note={`${Math.round(100 * tokens.learned / Math.max(1, tokens.total))} %`}
          >
            {showCount(tokens.learned)}
          </Fact>
        </dl>
        {facts.cutExamples > 0 && (
          <p class="quiet">
            {showPlural(facts.cutExamples, "example")} longer than {facts.length} tokens, cut off there.
          </p>
        )}
        {facts.droppedRows > 0 && (
          <p class="quiet">
            {showPlural(facts.droppedRows, "row")} left out: there is nothing in them to learn.
          </p>
        )}
        <BadRows facts={facts} />
      </section>
      <Example facts={facts} />
      <Lengths facts={facts} />
    </>
  );
}
