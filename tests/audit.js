// Run in the page: controls without a name, or with one of gradio's keys, texts with less contrast than WCAG AA asks for, what is too wide.
() => {
  const out = {overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth, nameless: [], contrast: [], wide: []};
  const vis = (e) => { const r=e.getBoundingClientRect(); const s=getComputedStyle(e); return r.width>0&&r.height>0&&s.visibility!=='hidden'&&s.display!=='none'; };
  const name = (e) => {
    if (e.getAttribute('aria-label')) return e.getAttribute('aria-label');
    const lb=e.getAttribute('aria-labelledby'); if (lb) return lb.split(' ').map(i=>document.getElementById(i)?.textContent||'').join(' ').trim();
    if (e.labels && e.labels.length) { const t=[...e.labels].map(l=>l.textContent.trim()).join(' '); if (t) return t; }
    if (e.title) return e.title; if (e.alt) return e.alt;
    if (['INPUT','TEXTAREA','SELECT','VIDEO','FIELDSET','PROGRESS'].includes(e.tagName) || e.role==='tabpanel') return '';
    return e.textContent.trim() || e.querySelector('img')?.alt || '';
  };
  for (const e of document.querySelectorAll('button,a[href],input,textarea,select,[role=button],[role=slider],[role=tab],[role=listbox],[role=tabpanel],fieldset,progress,video,img')) {
    if (!vis(e) && e.type!=='file') continue;
    if (e.tagName==='IMG' && e.hasAttribute('alt') && e.alt!=='') continue;
    if (!name(e) || /^(common|image|upload_text)\.|⇣$|-button$/.test(e.getAttribute('aria-label')||e.textContent.trim())) out.nameless.push(e.outerHTML.slice(0,200));
  }
  const parse = (c) => { const m=c.match(/[\d.]+/g).map(Number); return m.length<4?[...m,1]:m; };
  const lum = ([r,g,b]) => { const f=[r,g,b].map(v=>{v/=255;return v<=0.03928?v/12.92:((v+0.055)/1.055)**2.4}); return 0.2126*f[0]+0.7152*f[1]+0.0722*f[2]; };
  const back = (e) => { let stack=[]; for(let n=e;n;n=n.parentElement){const c=parse(getComputedStyle(n).backgroundColor); if(c[3]>0){stack.push(c); if(c[3]>=1)break;}} let base=[255,255,255]; if(stack.length&&stack[stack.length-1][3]>=1){base=stack.pop().slice(0,3);} for(const c of stack.reverse()) base=base.map((v,i)=>v*(1-c[3])+c[i]*c[3]); return base; };
  const w=document.createTreeWalker(document.body,NodeFilter.SHOW_TEXT);
  while(w.nextNode()){ const t=w.currentNode; if(!t.textContent.trim())continue; const e=t.parentElement; if(!e||['SCRIPT','STYLE','NOSCRIPT'].includes(e.tagName)||!vis(e))continue; if(e.closest('[aria-hidden=true]'))continue;
    const s=getComputedStyle(e); const f=parse(s.color); const b=back(e); const fg=[0,1,2].map(i=>f[i]*f[3]+b[i]*(1-f[3])); const a=lum(fg),c=lum(b); const ratio=(Math.max(a,c)+.05)/(Math.min(a,c)+.05);
    const size=parseFloat(s.fontSize); const large=size>=24||(size>=18.66&&parseInt(s.fontWeight)>=700);
    let op=1; for(let n=e;n;n=n.parentElement) op*=parseFloat(getComputedStyle(n).opacity);
    if(op===0||e.closest('[disabled]'))continue; if(ratio<(large?3:4.5)||op<0.99) out.contrast.push([t.textContent.trim().slice(0,40),ratio.toFixed(2),op.toFixed(2),s.color,b.map(Math.round).join()]);
  }
  for (const e of document.querySelectorAll('body *')) { const r=e.getBoundingClientRect(); if (vis(e)&&r.right>document.documentElement.clientWidth+1&&!e.closest('.lr-scroll')) out.wide.push(e.tagName+'.'+e.className+' '+Math.round(r.right)); }
  out.wide=out.wide.slice(0,8);
  return out;
}
