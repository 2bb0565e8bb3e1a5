"""The page's style sheet: one accent colour, light or dark as the reader's system is, and made for paper too."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2530; --muted: #66717d; --line: #e6e9ed; --faint: #f6f8f9;
  --accent: #0b7285; --tint: #74aebb; --grey: #c3cad1; --warn: #b4452f; }
@media (prefers-color-scheme: dark) { :root { --paper: #151a20; --ink: #e7ecf1; --muted: #9aa6b2; --line: #2a323b;
  --faint: #1b2129; --accent: #4cc3d6; --tint: #35808f; --grey: #4a545f; --warn: #f0866f; } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #1c2530; --muted: #55606b; --line: #dfe3e8;
  --faint: #fff; --accent: #0b7285; --tint: #74aebb; --grey: #c3cad1; --warn: #b4452f; } }
* { box-sizing: border-box; } [hidden] { display: none !important; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, 'Segoe UI',
  Roboto, 'Helvetica Neue', sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1040px; margin: 0 auto; padding: 48px 24px 72px; }
h1 { font-size: 2.1rem; line-height: 1.15; letter-spacing: -0.02em; margin: 0 0 10px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; letter-spacing: -0.01em; margin: 0 0 4px; }
h3 { font-size: 0.9rem; margin: 0 0 2px; overflow-wrap: anywhere; }
p { margin: 0 0 10px; max-width: 46em; }
section { margin-top: 52px; }
a { color: var(--accent); text-underline-offset: 3px; text-decoration-thickness: 1px; }
code, .mono { font: 0.92em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.eyebrow { color: var(--accent); font-size: 0.8rem; font-weight: 600; letter-spacing: 0.08em; text-transform: uppercase;
  margin: 0 0 6px; }
.lede { font-size: 1.12rem; }
.note, figcaption { color: var(--muted); font-size: 0.88rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 1px; margin: 26px 0 0; padding: 0; border: 1px solid var(--line);
  border-radius: 10px; overflow: hidden; }
.tiles div { flex: 1 1 150px; padding: 14px 18px 12px; box-shadow: 0 0 0 1px var(--line); }
.tiles dt { color: var(--muted); font-size: 0.82rem; }
.tiles dd { margin: 0; font-size: 1.45rem; font-weight: 600; letter-spacing: -0.01em; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; font-size: 0.82rem; font-weight: 400; letter-spacing: 0; color: var(--muted); }
.bar { display: flex; gap: 2px; height: 8px; margin: 22px 0 8px; border-radius: 4px; overflow: hidden; }
.bar i, .key i, .phases i, .kinds i { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.bar i { min-width: 3px; background: var(--grey); }
.bar .complete { background: var(--accent); } .bar .pruned { background: var(--grey); }
.bar .failed { background: var(--warn); } .bar .running { background: var(--tint); }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0; padding: 0; list-style: none; color: var(--muted);
  font-size: 0.88rem; }
.key i { display: inline-block; width: 9px;
  height: 9px; border-radius: 50%; margin-right: 7px; background: var(--grey); }
.key .complete { background: var(--accent); } .key .failed { background: var(--warn); }
.key .running { background: var(--tint); }
.links { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 18px 0 0; padding: 0; list-style: none; }
figure { margin: 14px 0 0; } figcaption { margin-top: 8px; }
h3 .note { font-weight: 400; }
.plot { width: 100%; }
.slices { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 26px 22px;
  margin-top: 18px; }
.slices > figure { margin: 0; min-width: 0; }
.surfaces { display: grid; grid-template-columns: repeat(auto-fill, minmax(158px, 1fr)); gap: 18px 14px; padding: 14px;
  max-height: 860px; }
.surfaces figure { margin: 0; min-width: 0; }
.surfaces button { all: unset; display: block; cursor: zoom-in; border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; background: #fff; }
.surfaces button:focus-visible { outline: 2px solid var(--accent); }
.surfaces img, dialog img { display: block; width: 100%; height: auto; }
.surfaces figcaption { margin-top: 5px; font-size: 0.82rem; line-height: 1.35; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.surfaces figcaption b, dialog b { color: var(--ink); }
.surfaces small, dialog small { display: block; font-size: inherit; }
.surfaces i, dialog i { font-style: normal; font-size: 0.76rem; padding: 0 6px; border-radius: 8px;
  border: 1px solid var(--grey); }
.surfaces .best, dialog .best { display: inline; color: var(--accent); border-color: var(--accent); }
.surfaces .failed, dialog .failed { color: var(--warn); }
.surfaces .pruned button { border-style: dashed; } .surfaces .pruned img, .surfaces .failed img { opacity: 0.72; }
dialog { border: 0; border-radius: 12px; padding: 16px; color: var(--muted); background: var(--paper); font: inherit;
  width: min(92vw, 78vh, 660px); cursor: zoom-out; }
dialog::backdrop { background: rgba(10, 16, 22, 0.62); } dialog figure { margin: 0; }
dialog img { border-radius: 8px; } dialog small { display: inline; } dialog small::before { content: ' \\00b7  '; }
.acts { min-width: 100%; } .acts th, .acts td { padding: 7px 14px; } .acts th { font-weight: 600; white-space: nowrap; }
.acts td:nth-child(-n+5) { white-space: nowrap; } .acts td:last-child { color: var(--muted); min-width: 20em; }
.acts tbody tr:last-child td { border-bottom: 0; }
.best { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 8px 44px; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px 6px 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
.facts { width: 100%; table-layout: fixed; } .facts th { width: 48%; font-weight: 400; color: var(--muted);
  overflow-wrap: anywhere; }
.facts td { overflow-wrap: anywhere; }
.scroll { overflow: auto; max-height: 640px; border: 1px solid var(--line); border-radius: 10px; margin-top: 12px;
  overscroll-behavior-x: contain; }
.trials { border-collapse: separate; border-spacing: 0; min-width: 100%; }
.trials th, .trials td { padding: 6px 14px; white-space: nowrap; max-width: 22em; overflow: hidden;
  text-overflow: ellipsis; }
.trials th { position: sticky; top: 0; background: var(--faint); z-index: 1; padding: 0; font-weight: 600; }
.trials th button { all: unset; display: block; width: 100%; box-sizing: border-box;
  padding: 8px 14px; cursor: pointer; }
.trials th button:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
.trials th[aria-sort=ascending] button::after { content: ' \\2191'; color: var(--accent); }
.trials th[aria-sort=descending] button::after { content: ' \\2193'; color: var(--accent); }
.trials tbody tr:last-child td { border-bottom: 0; }
.trials tbody tr:hover td { background: var(--faint); }
.state-pruned, .state-running { color: var(--muted); } .state-failed { color: var(--warn); }
.winner { color: var(--accent); font-weight: 600; }
.controls { display: flex; flex-wrap: wrap; gap: 10px; align-items: center; margin-top: 10px; font-size: 0.9rem; }
select, input[type=search] { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; padding: 6px 10px; max-width: 100%; }
select:focus-visible, input:focus-visible { outline: 2px solid var(--accent); }
.reasons { padding: 0; list-style: none; } .reasons li { padding: 10px 0; border-bottom: 1px solid var(--line); }
.reasons .mono { display: block; color: var(--warn); white-space: pre-wrap; }
.reasons li:last-child { border-bottom: 0; }
button.copy, #choose-all { font: inherit; font-size: 0.82rem; color: var(--accent); background: none; cursor: pointer;
  border: 1px solid var(--line); border-radius: 6px; padding: 0 8px; margin-left: 8px; }
button.copy:hover, #choose-all:hover { border-color: var(--accent); }
button.copy:focus-visible, #choose-all:focus-visible { outline: 2px solid var(--accent); }
.trials td .command { font-size: 0.8rem; } .trials td:last-child { max-width: none; }
.plain, .phases { width: 100%; } .plain th, .plain td { padding: 6px 14px; } .plain th { font-weight: 600; }
.low { max-height: 300px; }
.kinds { width: 100%; margin-top: 8px; } .kinds td:first-child { white-space: nowrap; }
.kinds td:nth-child(2) { width: 9.5em; white-space: nowrap; } .kinds p { margin: 0 0 2px; }
.kinds i { display: block; height: 6px; border-radius: 3px; background: var(--warn); margin: 5px 0 3px; }
.kinds small { color: var(--muted); font-size: inherit; } .kinds b { font-weight: 600; }
.reasons, .settings { margin: 0; } .settings { padding: 0; list-style: none; }
.settings li { padding: 3px 0; }
summary { color: var(--accent); cursor: pointer; width: fit-content; }
summary:focus-visible { outline: 2px solid var(--accent); }
.phases i { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 8px; }
.phases th { font-weight: 400; color: var(--muted); } .phases td, .phases th { padding-right: 12px; }
.phases td { white-space: nowrap; }
.bar .shade-0, .phases .shade-0 { background: #0b7285; } .bar .shade-1, .phases .shade-1 { background: #e8a33d; }
.bar .shade-2, .phases .shade-2 { background: #7a6bb8; } .bar .shade-3, .phases .shade-3 { background: #4fa66a; }
.bar .shade-4, .phases .shade-4 { background: #c2607c; } .bar .shade-5, .phases .shade-5 { background: #74aebb; }
.bar .rest, .phases .rest { background: var(--grey); }
.across { overflow-x: auto; overflow-y: hidden; margin-top: 12px; border: 1px solid var(--line); border-radius: 10px; }
#lines { position: relative; } #lines canvas { position: absolute; left: 0; top: 0; }
#lines .strip { position: absolute; width: 24px; cursor: ns-resize; touch-action: none; }
#lines .tip { position: absolute; left: 0; top: 0; width: max-content; max-width: 240px; pointer-events: none;
  z-index: 2; background: var(--paper); border: 1px solid var(--line); border-radius: 6px; padding: 6px 9px;
  font-size: 0.78rem; line-height: 1.4; overflow-wrap: anywhere; }
footer { margin-top: 56px; color: var(--muted); font-size: 0.85rem; }
@media (max-width: 600px) { main { padding: 28px 16px 48px; } h1 { font-size: 1.7rem; } section { margin-top: 40px; }
  .tiles div { flex-basis: 40%; padding: 11px 13px 10px; } .tiles dd { font-size: 1.2rem; }
  .surfaces { grid-template-columns: repeat(2, 1fr); padding: 10px; gap: 14px 10px; }
  .kinds thead { display: none; } .kinds, .kinds tbody, .kinds tr, .kinds td { display: block; width: auto; }
  .kinds td { border: 0; padding: 2px 0; } .kinds td:nth-child(2) { width: auto; }
  .kinds tr { padding: 12px 0; border-bottom: 1px solid var(--line); } }
@media print { main { max-width: none; padding: 0; } .controls { display: none; } .scroll { max-height: none;
  overflow: visible; border: 0; } .trials { font-size: 0.68rem; } .trials th { position: static; }
  .surfaces { grid-template-columns: repeat(6, 1fr); } .surfaces button { print-color-adjust: exact; }
  .trials th, .trials td { white-space: normal; padding: 3px 5px; overflow-wrap: anywhere; }
  .trials th:nth-last-child(-n+2), .trials td:nth-last-child(-n+2) { display: none; } .trials th button { padding: 0; }
  button.copy { display: none; } #lines { width: 100% !important; height: auto !important; }
  #lines canvas:first-child { position: static; }
  #lines canvas { max-width: 100%; height: auto !important; }
  figure, .tiles, .reasons li, tr, #lines { break-inside: avoid; } h2 { break-after: avoid; } }
"""
