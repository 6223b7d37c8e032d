/**
 * What every view is made of: its opening, figures with their names, and what few need.
 * @module
 */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

let isFirst = true;

/**
 * A step's big words. Going to a step moves the focus here, so that a screen reader begins at its beginning; so do new words
 * where the button that was pressed is gone.
 */
export function Opening(props: { title: string; children?: ComponentChildren }): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  const isArrival = useRef(true);
  useEffect(() => {
    const takesFocus = isArrival.current ? !isFirst : document.activeElement === document.body;
    if (takesFocus) heading.current?.focus({ preventScroll: true });
    if (isArrival.current && !isFirst) scrollTo({ top: 0 });
    isFirst = isArrival.current = false;
  }, [props.title]);
  return (
    <header class="opening">
      <h1 ref={heading} tabIndex={-1}>{props.title}</h1>
      {props.children && <p class="lead">{props.children}</p>}
    </header>
  );
}

/** A figure with its name. */
export function Fact(props: { name: string; children: ComponentChildren; note?: string }): JSX.Element {
  return (
    <div class="fact">
      <dt>{props.name}</dt>
      <dd>
        <span class="number">{props.children}</span>
        {props.note && <small>{props.note}</small>}
      </dd>
    </div>
  );
}

/** What few need, folded. */
export function More(props: { label: string; children: ComponentChildren; isOpen?: boolean }): JSX.Element {
  return (
    <details class="more" open={props.isOpen}>
      <summary>{props.label}</summary>
      <div class="more-body">{props.children}</div>
    </details>
  );
}
