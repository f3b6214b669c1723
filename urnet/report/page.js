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
