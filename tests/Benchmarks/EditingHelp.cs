using System.Diagnostics;
using System.Globalization;
using LoraNotebooks.Kernel.Assistance;

namespace Benchmarks;

/// <summary>How long completion and inspection take in a session, and what they keep in memory.</summary>
internal static class EditingHelp
{
    private const int Repetitions = 20;

    private static readonly (string Name, string Code)[] Places =
    [
        ("member of a library type", "torch.ones(2).|"),
        ("member of an earlier variable", "value3.|"),
        ("name in scope", "val|"),
        ("nothing typed", "|"),
        ("argument, two overloads", "value3.Contains(|)"),
        ("argument, thirteen overloads", "Math.Max(|)"),
    ];

    public static async Task RunAsync()
    {
        using var assistant = new CodeAssistant(Environment.CurrentDirectory);
        Print("start", TimeSpan.Zero, TimeSpan.Zero);
        await MeasureOnceAsync("first completion", () => assistant.CompleteAsync("Console.", 8, default));
        await MeasureOnceAsync("rest of the warm-up", () => assistant.WarmUpAsync(default));
        var cells = 0;
        foreach (var until in (int[])[20, 300, 1_000])
        {
            for (; cells < until; cells++)
            {
                assistant.Add(Cell(cells), []);
            }

            await MeasureOnceAsync($"first completion after {until} cells", () => assistant.CompleteAsync("value3.", 7, default));
            foreach (var (name, marked) in Places)
            {
                await MeasureAsync($"  {name}", marked, (code, position) => assistant.CompleteAsync(code, position, default));
            }

            await MeasureAsync("  inspection", "Console.WriteLine(|", (code, position) => assistant.InspectAsync(code, position, detailed: false, default));
        }
    }

    // Every tenth cell declares a type or a method; names come back as they do when cells run again; half of them only print.
    private static string Cell(int number) => (number % 10) switch
    {
        0 => $"record Sample{number % 40}(string Caption, int Width);",
        1 => $"int Count{number % 100}(IEnumerable<string> words) => words.Count(word => word.Length > {number});",
        2 or 3 or 4 => $"var value{number % 25} = Enumerable.Range(0, {number}).Select(n => $\"item {{n}}\").ToList();",
        _ => $"Console.WriteLine({number});\nfor (var i = 0; i < 3; i++) {{ Console.Write(i); }}",
    };

    private static async Task MeasureOnceAsync(string name, Func<Task> work)
    {
        var clock = Stopwatch.StartNew();
        var cpu = Environment.CpuUsage.TotalTime;
        await work();
        Print(name, clock.Elapsed, Environment.CpuUsage.TotalTime - cpu);
    }

    private static async Task MeasureAsync(string name, string marked, Func<string, int, Task> work)
    {
        var position = marked.IndexOf('|', StringComparison.Ordinal);
        var code = marked.Remove(position, 1);
        var (wall, busy) = (new List<TimeSpan>(), new List<TimeSpan>());
        for (var repetition = 0; repetition < Repetitions; repetition++)
        {
            var clock = Stopwatch.StartNew();
            var cpu = Environment.CpuUsage.TotalTime;
            await work(code, position);
            wall.Add(clock.Elapsed);
            busy.Add(Environment.CpuUsage.TotalTime - cpu);
        }

        Print(name, wall.Order().ElementAt(Repetitions / 2), busy.Order().ElementAt(Repetitions / 2));
    }

    private static void Print(string name, TimeSpan wall, TimeSpan cpu)
    {
        GC.Collect();
        Console.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{name,-40} {wall.TotalMilliseconds,8:0} ms  {cpu.TotalMilliseconds,8:0} ms of processor  ")
            + string.Create(
                CultureInfo.InvariantCulture,
                $"{Environment.WorkingSet / 1048576.0,6:0} MB resident  {GC.GetTotalMemory(false) / 1048576.0,6:0} MB managed"));
    }
}
