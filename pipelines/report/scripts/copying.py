"""Copies a command; where the browser does not let a page copy, it selects the command for the reader to copy."""

from __future__ import annotations

COPYING = """
  document.addEventListener('click', async event => {
    const button = event.target.closest('button.copy');
    if (!button) return;
    const command = button.previousElementSibling;
    let done = false;
    try {
      await navigator.clipboard.writeText(command.textContent);
      done = true;
    } catch {  // not every browser lets a page that was opened from a disk or within another one
      getSelection().selectAllChildren(command);
      done = document.execCommand('copy');
    }
    button.textContent = done ? 'copied' : 'selected';
    setTimeout(() => { button.textContent = 'copy'; }, 1500);
  });
"""
