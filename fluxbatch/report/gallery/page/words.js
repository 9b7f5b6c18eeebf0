"use strict";
// What all scripts share, and what the page says, in the reader's language.
const FLUXBATCH = (() => {
  const WORDS = {
    en: { summary: "Summary", search: "Search ids and prompts ( / )", all: "all", stored: "made", failed: "failed", pending: "still to make", anyReason: "any reason", anyModel: "any model", anyFlag: "flagged or not", flagged: "flagged", flag: "Flag", flag_size: "other size than asked for", flag_blank: "blank", flag_same_as_input: "same as an input", flag_same_as_output: "same as another image", told_size: "{0} was asked for, this is {1}", told_blank: "it shows nothing but {0}", told_same_as_input: "byte for byte the same as input {0}, {1}", told_same_as_output: "byte for byte the same as the image of {0}", status: "Status", reason: "Reason", model: "Model", sort: "Sort", order: "manifest order", id: "id", cost: "cost", attempts: "attempts", age: "URL age", shown: "{0} of {1} shown", counts: "{0} jobs: {1} made, {2} failed, {3} still to make; spent ${4}", unknown: "; {0} requests maybe billed", simulated: "simulated", grid: "Jobs", none: "Nothing matches.", close: "Close", previous: "Previous", next: "Next", side: "Side by side", swipe: "Swipe", swipeAt: "Where input and output meet", output: "Output", input: "Input {0}", prompt: "Prompt", seed: "Seed", size: "Size", bytes: "Bytes", file: "File", request: "Request", error: "Error", meta: "Meta", chain: "Chain", fromUrl: "a URL, not loaded", rate: "Images a minute (failed in red)", latency: "Answers by latency, seconds", urlAge: "Images by URL age when fetched, seconds", spend: "Spend, USD, by running time", limit: "Requests at a time, limit ({0} refused in red)", nothing: "no events", other: "中文", written: "written {0}", noPicture: "no picture" },
    zh: { summary: "概览", search: "搜索编号和提示词（/）", all: "全部", stored: "已生成", failed: "失败", pending: "待生成", anyReason: "任何原因", anyModel: "任何模型", anyFlag: "有无提示", flagged: "有提示", flag: "提示", flag_size: "尺寸与要求不符", flag_blank: "空白", flag_same_as_input: "与输入相同", flag_same_as_output: "与其他图像相同", told_size: "要求 {0}，实际 {1}", told_blank: "整幅图只有 {0}", told_same_as_input: "与输入 {0}（{1}）逐字节相同", told_same_as_output: "与 {0} 的图像逐字节相同", status: "状态", reason: "原因", model: "模型", sort: "排序", order: "清单顺序", id: "编号", cost: "费用", attempts: "尝试次数", age: "链接时长", shown: "显示 {0} / {1}", counts: "{0} 个任务：已生成 {1}，失败 {2}，待生成 {3}；花费 ${4}", unknown: "；{0} 个请求可能已计费", simulated: "模拟", grid: "任务", none: "没有匹配的任务。", close: "关闭", previous: "上一个", next: "下一个", side: "并排", swipe: "滑动对比", swipeAt: "输入与输出的分界", output: "输出", input: "输入 {0}", prompt: "提示词", seed: "种子", size: "尺寸", bytes: "字节", file: "文件", request: "请求", error: "错误", meta: "附加数据", chain: "链", fromUrl: "网址，不加载", rate: "每分钟图像数（红色为失败）", latency: "响应时间分布（秒）", urlAge: "下载时链接时长分布（秒）", spend: "花费（美元，按运行时间）", limit: "并发上限（红色为被限流的 {0} 个请求）", nothing: "没有事件", other: "English", written: "写于 {0}", noPicture: "无图像" },
  };
  const self = {
    jobs: [],
    language: navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en",
    // what a served page adds: job → shown?; job → elements, of its tile and its large view; key → what it does; after each writing
    filters: [], badges: [], sections: [], keys: {}, written: [],
    learn(words) { for (const language of Object.keys(words)) Object.assign(WORDS[language], words[language]); },
    add(jobs) { for (const job of jobs) self.jobs.push(job); },
    say(word, ...facts) { return facts.reduce((text, fact, at) => text.replace(`{${at}}`, () => String(fact)), WORDS[self.language][word] || word); },
    // All text goes in as text: what a prompt says is never markup.
    make(name, facts = {}, ...inside) {
      const { text, ...attributes } = facts;
      const made = document.createElement(name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text !== undefined) made.textContent = text;
      made.append(...inside);
      return made;
    },
    usd(amount) { return (amount || 0).toFixed(amount && amount < 0.1 ? 3 : 2); },
  };
  return self;
})();
