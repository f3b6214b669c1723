'use strict';
const openTarget=()=>{const id=decodeURIComponent(location.hash.slice(1));
const target=id&&document.getElementById(id);
if(target&&target.tagName==='DETAILS'){target.open=true;target.scrollIntoView()}};
addEventListener('hashchange',openTarget);openTarget();
for(const button of document.querySelectorAll('button[data-open]'))button.addEventListener('click',()=>{
for(const item of document.querySelectorAll('details.class'))item.open=button.dataset.open==='1'});
const suspects=()=>{
const list=document.getElementById('suspects-list'),dialog=document.getElementById('large');
if(!list)return;
const cards=[...list.children],ofClass=document.getElementById('of-class'),words=document.getElementById('of-words');
const buttons=[...document.querySelectorAll('button[data-verdict]')],now=document.getElementById('shown-now');
const texts=new Map(cards.map(card=>[card,card.textContent.toLowerCase()]));
let verdict='',at=null;
const has=(card,wanted)=>{if(wanted==='')return true;
const {given,to,like}=card.dataset;
return wanted.includes('>')?card.dataset.verdict==='1'&&wanted===given+'>'+to:wanted===given||wanted===like};
const filter=()=>{
const word=words.value.trim().toLowerCase(),matching=cards.filter(
card=>has(card,ofClass.value)&&(word===''||texts.get(card).includes(word)));
const inside=new Set(matching.filter(card=>verdict===''||card.dataset.verdict===verdict));
for(const card of cards)card.hidden=!inside.has(card);
for(const button of buttons){const of=button.dataset.verdict;
button.setAttribute('aria-pressed',String(of===verdict));
button.querySelector('b').textContent=matching.filter(card=>of===''||card.dataset.verdict===of).length}
now.textContent=inside.size<cards.length?`${inside.size} of ${cards.length} shown`:''};
for(const button of buttons)button.addEventListener('click',()=>{verdict=button.dataset.verdict;filter()});
ofClass.addEventListener('change',filter);words.addEventListener('input',filter);
for(const button of document.querySelectorAll('button[data-pair]'))button.addEventListener('click',()=>{
verdict='';words.value='';ofClass.value=button.dataset.pair;filter();
document.getElementById('suspects').scrollIntoView()});
const part=selector=>dialog.querySelector(selector);
const larger=picture=>{ // the file itself, where the page still lies next to it
const img=picture.cloneNode(true);img.removeAttribute('loading');
if(location.protocol==='file:'&&img.dataset&&img.dataset.file){const file=new Image();
file.addEventListener('load',()=>{img.src=file.src});file.src=img.dataset.file}
return img};
const typical=(number,kind)=>{const found=document.getElementById('typical-'+number);
if(!found||!found.content.childElementCount)return [];
const box=document.createElement('div'),title=document.createElement('h4'),row=document.createElement('div');
title.append('Typical ',Object.assign(document.createElement('bdi'),{className:kind,textContent:found.dataset.name}));
row.className='three';row.append(found.content.cloneNode(true));box.append(title,row);return [box]};
const show=card=>{at=card;
const seen=cards.filter(other=>!other.hidden);
part('#large-place').textContent=`${seen.indexOf(card)+1} of ${seen.length}`;
part('.seen').replaceChildren(...[...card.querySelector('.open').children].map(larger));
part('#large-title').replaceChildren(...card.querySelector('.labels').cloneNode(true).childNodes);
part('.said').replaceChildren(...[...card.querySelectorAll('.verdict,.quality,.caption')].map(item=>item.cloneNode(true)));
const {given,like}=card.dataset;
part('.compare').replaceChildren(...typical(given,'given'),...(like===given?[]:typical(like,'to')));
if(!dialog.open)dialog.showModal();dialog.scrollTop=0};
const go=step=>{const seen=cards.filter(card=>!card.hidden);
const next=seen[seen.indexOf(at)+step];if(next)show(next)};
for(const card of cards)card.querySelector('.open').addEventListener('click',()=>show(card));
for(const button of dialog.querySelectorAll('[data-go]'))button.addEventListener('click',()=>{
const step=Number(button.dataset.go);if(step)go(step);else dialog.close()});
dialog.addEventListener('click',event=>{if(event.target===dialog)dialog.close()});
dialog.addEventListener('keydown',event=>{const step={ArrowLeft:-1,ArrowRight:1}[event.key];
if(step&&!event.altKey&&!event.ctrlKey&&!event.metaKey){event.preventDefault();go(step)}});
dialog.addEventListener('close',()=>{if(at)at.querySelector('.open').focus()})};
suspects();
