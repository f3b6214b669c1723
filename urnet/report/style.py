"""How the page looks (CSS) and the little that moves in it (JavaScript). Nothing is fetched."""

CSS = """
:root{color-scheme:light dark;--paper:#fbfbf9;--card:#fff;--ink:#1d2126;--soft:#626b75;--line:#dfe1dd;
--accent:#0b6e69;--accent-soft:#d5ebe8;--warn:#a8480b;--warn-soft:#fae7d8;--area:#cfe4e1;--heat:168,72,11}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1c2024;--ink:#e8e9e6;--soft:#9aa3ac;
--line:#32383e;--accent:#58c2b8;--accent-soft:#1d3d3a;--warn:#f0a36b;--warn-soft:#452a17;--area:#21403d;
--heat:230,140,80}}
*{box-sizing:border-box}
html{scroll-padding-top:3.4rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",
Roboto,"Noto Sans","DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1180px;margin:0 auto;padding:0 1.1rem 4rem}
nav{position:sticky;top:0;z-index:2;background:var(--paper);border-bottom:1px solid var(--line)}
nav ul{max-width:1180px;margin:0 auto;padding:0 .6rem;display:flex;overflow-x:auto;list-style:none;
scrollbar-width:none}
nav a{display:block;padding:.7rem .5rem;color:var(--soft);text-decoration:none;white-space:nowrap}
nav a:hover,nav a:focus-visible{color:var(--accent)}
a{color:var(--accent)}
h1{font-size:1.9rem;line-height:1.2;margin:1.8rem 0 .8rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:0 0 .6rem}
section{margin-top:2.6rem}
h3{font-size:1rem;margin:1rem 0 .4rem}
h4{font-size:.95rem;margin:1.1rem 0 .4rem}
h5{font-size:.85rem;margin:0 0 .3rem}
h4 small,h5 span,small{font-weight:400;color:var(--soft);font-size:.82em}
p{margin:.3rem 0 .7rem;max-width:78ch}
.note{color:var(--soft);font-size:.88rem}
code{background:var(--accent-soft);padding:.05em .35em;border-radius:3px;font-size:.9em}
.no{color:var(--soft)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));
gap:.9rem 1.4rem;margin:0 0 1rem}
.facts dt{color:var(--soft);font-size:.8rem}
.facts dd{margin:0;font-weight:600;overflow-wrap:anywhere}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:0 2.4rem}
.pair>div,.tiles>div{min-width:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17.5rem),1fr));gap:.4rem 2rem}
.row{display:grid;grid-template-columns:minmax(5rem,11rem) minmax(4rem,1fr) 11rem;gap:.8rem;
align-items:center;padding:.16rem 0;font-size:.92rem}
.row .name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.value{white-space:nowrap}
.track{position:relative;height:.75rem;background:var(--line);border-radius:2px;display:block;overflow:hidden}
.track b{display:block;height:100%;background:var(--accent)}
.dots{position:relative;display:block;height:1.4rem}
.dots::before{content:"";position:absolute;left:0;right:0;top:50%;border-top:1px solid var(--line)}
.dots s{position:absolute;top:15%;bottom:15%;border-left:1px solid var(--line)}
.dots em{position:absolute;top:calc(50% - 5px);height:10px;border:solid var(--ink);border-width:0 1px;
background:linear-gradient(var(--ink),var(--ink)) center/100% 1px no-repeat}
.dots i,.key i{width:11px;height:11px;border-radius:50%;border:2px solid var(--accent);
background:var(--paper)}
.dots i{position:absolute;top:calc(50% - 5.5px);margin-left:-5.5px}
i.first{background:var(--accent)!important}
.key{color:var(--soft);font-size:.88rem}
.key i{display:inline-block;vertical-align:-1px;margin:0 .2em 0 .6em}.key i:first-child{margin-left:0}
.ends{display:flex;justify-content:space-between;color:var(--soft);font-size:.78rem}
.ends span:first-child{transform:translateX(-40%)}.ends span:last-child{transform:translateX(40%)}
.plot{position:relative;height:11.5rem;margin:.6rem .3rem 1.8rem 2.7rem}
.tiles .plot{height:7.5rem}
.plot svg{width:100%;height:100%;display:block;overflow:visible}
.grid{stroke:var(--line);vector-effect:non-scaling-stroke}
.line{fill:none;stroke:var(--accent);stroke-width:2;vector-effect:non-scaling-stroke}
.area{fill:var(--area)}.bar{fill:var(--accent)}
.words span{position:absolute;font-size:.75rem;color:var(--soft);white-space:nowrap;line-height:1}
.words .y{right:calc(100% + .45rem);transform:translateY(-50%)}
.words .x{top:calc(100% + .45rem);transform:translateX(-50%)}
.words .x.first{transform:none}.words .x.last{transform:translateX(-100%)}
.plain{list-style:none;margin:0;padding:0;font-size:.92rem}
.plain li{display:flex;justify-content:space-between;gap:1rem;border-bottom:1px solid var(--line);
padding:.15rem 0}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:.32rem .7rem .32rem 0;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--soft);font-weight:400;font-size:.82rem;vertical-align:bottom}
th{font-weight:500}.num{text-align:right}
.share .track{display:inline-block;width:5.5rem;margin-right:.5rem}
.share{white-space:nowrap}
.share .track b{background:var(--warn)}
.chips{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem .35rem;margin:0;padding:0}
.chips li{background:var(--warn-soft);border-radius:3px;padding:0 .4rem;overflow-wrap:anywhere;min-width:0}
.confused th,.confused td{min-width:0;overflow-wrap:anywhere}
.confused .share,.confused .num{white-space:nowrap}
.heat td,.heat thead th{padding:.2rem .1rem;text-align:center;min-width:2.1rem;font-size:.8rem;
border:1px solid var(--paper)}
.heat th[scope=row]{max-width:13rem;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;border:0;
padding:.2rem .6rem .2rem 0;position:sticky;left:0;background:var(--paper)}
.heat td{background:rgba(var(--heat),var(--s))}
.heat .same{background:var(--accent-soft)}
.search{display:block;margin:.2rem 0 .8rem;color:var(--soft)}
input,button{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--line);
border-radius:4px;padding:.35rem .6rem;margin-left:.3rem}
button{cursor:pointer;margin:0 .4rem .6rem 0}
button:hover{border-color:var(--accent)}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.cards{list-style:none;margin:0;padding:0;display:grid;gap:.7rem;
grid-template-columns:repeat(auto-fill,minmax(10.2rem,1fr))}
.cards.small{grid-template-columns:repeat(auto-fill,minmax(7.2rem,1fr));gap:.5rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:5px;padding:.45rem;min-width:0;
overflow:hidden;content-visibility:auto;contain-intrinsic-size:auto 15rem}
.card p{margin:.35rem 0 0}
.card img,.card .none{width:100%;aspect-ratio:4/3}
.cards.small img,.cards.small .none{aspect-ratio:1}
img{object-fit:contain;background:var(--paper);border-radius:3px;display:block}
.none{display:grid;place-items:center;text-align:center;border:1px dashed var(--line);border-radius:3px;
color:var(--soft);font-size:.75rem;line-height:1.25;padding:.3rem}
.labels{display:flex;flex-wrap:wrap;gap:.25rem;font-size:.85rem;line-height:1.3}
.labels span span{color:inherit;opacity:.75}
.given,.to{border-radius:3px;padding:.05rem .4rem;overflow-wrap:anywhere}
.given{background:var(--line)}
.to{background:var(--warn-soft);color:var(--warn);font-weight:600}
.to::before{content:"→ "}
.caption{font-size:.8rem;line-height:1.35;display:-webkit-box;-webkit-line-clamp:3;-webkit-box-orient:vertical;
overflow:hidden;overflow-wrap:anywhere}
details{margin:.5rem 0}
summary{cursor:pointer;padding:.35rem 0}
.class{border-top:1px solid var(--line);margin:0}
.class>summary{padding:.6rem 0}
.class>summary .title{font-weight:600;margin-right:.8rem}
.class>summary .facts{display:inline;margin:0;color:var(--soft);font-size:.88rem}
.class[open]{padding-bottom:1.4rem}
.clusters{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));gap:1rem 1.4rem}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(3.6rem,1fr));gap:3px}
.sheet img,.sheet .none{width:100%;aspect-ratio:1;font-size:.6rem}
[hidden]{display:none!important}
@media(max-width:600px){body{font-size:16px}h1{font-size:1.5rem;margin-top:1.2rem}
.facts{grid-template-columns:repeat(2,1fr)}
.row{grid-template-columns:1fr auto;gap:.1rem .8rem;padding:.35rem 0}
.row .dots,.row .track,.row .ends{grid-column:1/-1;grid-row:2}
.row>span:empty{display:none}.ends span{transform:none!important}
.confused thead{display:none}.confused,.confused tbody{display:block}
.confused tr{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:.15rem .8rem;padding:.5rem 0;
border-bottom:1px solid var(--line)}
.confused th,.confused td{border:0;padding:0}
.confused .num::after{content:" rows"}
.confused td:last-child{grid-column:1/-1}.confused .share{grid-column:1/-1}
.cards{grid-template-columns:repeat(2,1fr)}.cards.small{grid-template-columns:repeat(3,1fr)}
.class>summary .facts{display:block}
nav a{padding:.8rem .55rem}}
@media print{nav,.search,button{display:none}.card{break-inside:avoid}}
"""

SCRIPT = """
'use strict';
const openTarget=()=>{const id=decodeURIComponent(location.hash.slice(1));
const target=id&&document.getElementById(id);
if(target&&target.tagName==='DETAILS'){target.open=true;target.scrollIntoView()}};
addEventListener('hashchange',openTarget);openTarget();
for(const button of document.querySelectorAll('button[data-open]'))button.addEventListener('click',()=>{
for(const item of document.querySelectorAll('details.class'))item.open=button.dataset.open==='1'});
for(const field of document.querySelectorAll('input[data-filter]'))field.addEventListener('input',()=>{
const wanted=field.value.trim().toLowerCase();
for(const item of document.getElementById(field.dataset.filter).children)
item.hidden=wanted!==''&&!item.textContent.toLowerCase().includes(wanted)});
"""
