/**
 * Everything that the page needs to look right by day, by night, and on a telephone. No
 * fonts or pictures from elsewhere.
 */
export const reportCss = `
:root{color-scheme:light dark;--ink:#1c2024;--soft:#5b6570;--paper:#fff;--panel:#f5f7f9;--line:#d9dee3;--good:#1f8a5b;--bad:#c4472f;--even:#7b8794;--warn:#fff4dc;--warnline:#e0a458;
--c0:#5c6b73;--c1:#2f7fb8;--c2:#c8553d;--c3:#2a9d74;--c4:#8e5bb5;--c5:#b08900;--c6:#d4719b;--c7:#1798ad;--c8:#7a8f2b;--c9:#e0833a}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8ea;--soft:#9aa5b0;--paper:#15181b;--panel:#1d2125;--line:#33393f;--good:#58c795;--bad:#ee7f66;--even:#93a0ac;--warn:#3a2f17;--warnline:#b98b3c;
--c0:#9aa9b2;--c1:#64ade2;--c2:#ec7d64;--c3:#4fc79b;--c4:#b98ddb;--c5:#d6b03a;--c6:#e996b8;--c7:#4cc3d6;--c8:#a8bd57;--c9:#f0a25f}}
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:66rem;margin:0 auto;padding:1rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:1rem 0 .3rem}h2{font-size:1.25rem;margin:2.5rem 0 .5rem;line-height:1.25}h3{font-size:1rem;margin:1.4rem 0 .3rem}
p{margin:.4rem 0}.lead{font-size:1.1rem}.soft,figcaption,.small{color:var(--soft);font-size:.9rem}
.warn{background:var(--warn);border-left:4px solid var(--warnline);padding:.6rem .9rem;border-radius:.2rem}
.facts{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin:.8rem 0;padding:0;list-style:none;color:var(--soft);font-size:.9rem}.facts b{color:var(--ink);font-weight:600}
.scroll{overflow-x:auto;margin:.6rem 0}table{border-collapse:separate;border-spacing:0;min-width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.32rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;font-weight:400}
thead th{color:var(--soft);font-size:.82rem;vertical-align:bottom;white-space:normal;min-width:5rem;line-height:1.25}
th:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}
tr.baseline th:first-child,tr.baseline td{font-weight:600}tr.reference th,tr.reference td{color:var(--soft)}tr.wrong th:first-child{color:var(--bad)}tr.best th:first-child{color:var(--good);font-weight:600}
.ratio{width:6.5rem;height:.7rem;vertical-align:middle;margin-left:.5rem}.ratio .one{stroke:var(--soft);stroke-width:1;opacity:.7}.ratio .whisker{stroke-width:2}.ratio circle{stroke:none}
.good .whisker{stroke:var(--good)}.good circle{fill:var(--good)}.bad .whisker{stroke:var(--bad)}.bad circle{fill:var(--bad)}.even .whisker{stroke:var(--even)}.even circle{fill:var(--even)}
figure.chart{margin:.8rem 0;padding:.9rem;background:var(--panel);border-radius:.4rem}
.plot{display:grid;grid-template-columns:3.2rem 1fr;grid-template-rows:14rem 1.6rem}.plot svg{width:100%;height:100%;overflow:hidden}.bar.cut .track{mask-image:linear-gradient(90deg,#000 85%,transparent)}
.ys{white-space:nowrap;display:flex;flex-direction:column;justify-content:space-between;color:var(--soft);font-size:.78rem;line-height:1;margin:-.4em .5rem -.4em 0;text-align:right}
.xs{grid-column:2;position:relative;color:var(--soft);font-size:.78rem}.xs span{position:absolute;top:.35rem;transform:translateX(-50%);white-space:nowrap}.xs span:last-child{transform:translateX(-85%)}
.grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke;fill:none}
figcaption{margin-top:.5rem;display:flex;flex-wrap:wrap;gap:.15rem 1rem}.key{white-space:nowrap}td .ratio{margin-right:.2rem}.key svg{width:1.8rem;height:.4rem;margin-right:.35rem;vertical-align:middle}.key i{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem;border-radius:.15rem;vertical-align:-.05rem}
.bar{display:grid;grid-template-columns:10.5rem 1fr 9rem;gap:.6rem;align-items:center;margin:.25rem 0;font-size:.85rem}.bar b{font-weight:400;text-align:right}.bar span{font-variant-numeric:tabular-nums;color:var(--soft)}
.track{display:flex;height:1rem;background:var(--paper);border-radius:.2rem;overflow:hidden}.track i{display:block;height:100%;min-width:1px}
${Array.from({ length: 10 }, (_, n) => `.f${n}{background:var(--c${n})}.o${n}{--of:var(--c${n})}`).join('')}
details{border-top:1px solid var(--line);padding:.5rem 0}details>summary{cursor:pointer;font-weight:600;padding:.3rem 0}details>summary .soft{font-weight:400;display:block;margin-left:1.1rem}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1.2rem;margin:.8rem 0 1.6rem}.pictures figure{margin:0}.pictures img{width:100%;height:auto;image-rendering:pixelated;display:block;border-radius:.25rem;background:#fff}
.swatch{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;margin-right:.35rem;vertical-align:-.05rem}
.matrix td,.matrix thead th{text-align:center;min-width:3.2rem}.matrix table{min-width:0}.matrix th{max-width:11rem;overflow:hidden;text-overflow:ellipsis}
.flame{position:relative;margin:.9rem 0 2.2rem;font-size:.75rem;line-height:1.25rem}.flame ul{display:flex;margin:0;padding:0;list-style:none}.flame li{flex:none;min-width:0}
.flame span{display:block;height:1.25rem;text-indent:.25rem;overflow:hidden;white-space:nowrap;text-overflow:ellipsis;background:color-mix(in srgb,var(--of,var(--line)) 35%,var(--paper));border:solid var(--paper);border-width:0 1px 1px 0}
.flame span:focus{outline:2px solid var(--ink);outline-offset:-2px}.flame span:focus::after{content:attr(title);position:absolute;z-index:1;top:100%;left:0;right:0;text-indent:0;padding:.15rem .35rem;background:var(--panel);border:1px solid var(--line);border-radius:.2rem;white-space:normal;overflow-wrap:anywhere}
.kinds thead th{min-width:0}.owners td:last-child{text-align:left}tbody th:first-child{overflow-wrap:anywhere}@media(min-width:40.01rem){.owners tbody th:first-child{min-width:16rem;max-width:28rem;white-space:normal}}
ul.findings{padding-left:1.2rem;margin:.3rem 0}ul.findings li{margin:.25rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;font-size:.9rem}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}code{font-size:.9em}
@media(max-width:40rem){.bar{grid-template-columns:1fr auto;gap:0 .6rem}.bar b{text-align:left}.bar .track{grid-column:1/3;grid-row:2}.plot{grid-template-rows:11rem 1.6rem}h1{font-size:1.4rem}tbody th:first-child{min-width:8rem;max-width:9.5rem;white-space:normal}}
`
