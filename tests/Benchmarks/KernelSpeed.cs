using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Jupyter;
using LoraNotebooks.Kernel.Tests.Jupyter;

namespace Benchmarks;

/// <summary>How long a kernel's first and later answers take, how fast it stops, and what a cell leaves in memory; over the wire.</summary>
internal static class KernelSpeed
{
    private const int Starts = 7;
    private const int Cells = 1_000;

    private static readonly (string Name, string Code)[] Endless =
    [
        ("an endless loop", "while (true) { }"),
        ("a loop after an await", "await Task.Yield(); while (true) { }"),
        ("a sleep", "Thread.Sleep(60_000);"),
        ("an awaited task", "await Task.Delay(60_000);"),
        ("matrix products of 1,000", "var m = torch.ones(1000, 1000); while (true) { m.mm(m).Dispose(); }"),
        ("work that watches the token", "await Task.Delay(60_000, Cancellation);"),
    ];

    public static void Run()
    {
        // The program's own output folder: there it is compiled ahead of time.
        var program = Path.GetFullPath(Path.Combine(
            Path.GetDirectoryName(ThisFile())!, "..", "..", "src", "LoraNotebooks.Kernel", "bin", "Release", "net10.0", "lora-notebooks.dll"));
        var starts = Enumerable.Range(0, Starts).Select(_ => FirstResult(program)).ToArray();
        Console.WriteLine($"start of the process to the first result   {Describe(starts, "ms")}");

        using var kernel = new KernelClient(program);
        Measure(kernel, "a trivial cell", i => $"{i} + 2");
        Measure(kernel, "a cell that declares a variable", i => $"var v{i} = {i};");
        kernel.Execute("torch.ones(1).ToString();");
        foreach (var (name, code) in Endless)
        {
            var times = Enumerable.Range(0, 5).Select(_ => Interruption(kernel, code)).ToArray();
            Console.WriteLine($"interrupt of {name,-28}  {Describe(times, "ms")}");
        }
    }

    /// <summary>From before the process is started to the value of a cell.</summary>
    private static double FirstResult(string program)
    {
        var clock = Stopwatch.StartNew();
        using var kernel = new KernelClient(program);
        return kernel.Execute("1 + 1").Result == "2" ? clock.Elapsed.TotalMilliseconds : throw new InvalidOperationException("The kernel does not compute.");
    }

    private static void Measure(KernelClient kernel, string name, Func<int, string> code)
    {
        for (var i = 0; i < 50; i++)
        {
            kernel.Execute($"{i} + 1");
        }

        var before = Memory(kernel);
        var times = new double[Cells];
        for (var i = 0; i < Cells; i++)
        {
            var clock = Stopwatch.StartNew();
            kernel.Execute(code(i));
            times[i] = clock.Elapsed.TotalMilliseconds;
        }

        var growth = (Memory(kernel) - before) / Cells / 1024;
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{name}, {Cells} times   {Describe(times, "ms")}, the last hundred {Median(times[^100..]):0.0} ms, {growth:0.0} KB each"));
    }

    private static double Interruption(KernelClient kernel, string code)
    {
        var id = kernel.Send("execute_request", new JsonObject { ["code"] = code });
        Thread.Sleep(700);
        var clock = Stopwatch.StartNew();
        kernel.Send("interrupt_request", channel: Channel.Control);
        kernel.Await(id);
        return clock.Elapsed.TotalMilliseconds;
    }

    private static double Memory(KernelClient kernel) =>
        double.Parse(kernel.Execute("GC.GetTotalMemory(forceFullCollection: true)").Result!, CultureInfo.InvariantCulture);

    private static string Describe(double[] values, string unit) =>
        string.Create(CultureInfo.InvariantCulture, $"median {Median(values):0.0} {unit}, fastest {values.Min():0.0}, slowest {values.Max():0.0}");

    private static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);

    private static string ThisFile([CallerFilePath] string path = "") => path;
}
