using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;
using LoraNotebooks.Kernel.Doctoring;
using LoraNotebooks.Tensors;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>doctor</c>: reports what the machine offers and what is missing.</summary>
internal static class DoctorCommand
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    private const int MostListed = 10;

    public static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "Writes the report as JSON." };
        var fix = new Option<bool>("--fix") { Description = "Fetches libtorch into NuGet's package folder, if it is missing there (about 200 MB)." };
        var numerics = new Option<bool>("--numerics")
        {
            Description = "Compares about a thousand of libtorch's operations, forward and backward, in float32 "
                + "and bfloat16, with float64 (less than a minute).",
        };
        var worker = new Option<int?>(NumericsExam.Option) { Hidden = true };
        var command = new Command(
            "doctor",
            "Checks the .NET SDK, libtorch, the processor, memory and the embedded model, and says what to do where something is missing.")
        {
            json, fix, numerics, worker,
        };
        command.SetAction((arguments, cancellation) =>
        {
            if (arguments.GetValue(worker) is { } first)
            {
                NumericsExam.Work(first, Console.Out);
                return Task.FromResult(0);
            }

            return arguments.GetValue(numerics)
                ? Task.FromResult(Sweep(arguments.GetValue(json), cancellation))
                : RunAsync(arguments.GetValue(json), arguments.GetValue(fix), cancellation);
        });
        return command;
    }

    /// <summary>What of libtorch's operations is off, by kinds. What the toolkit goes around is no failure.</summary>
    private static int Sweep(bool asJson, CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var outcomes = NumericsExam.Run(cancellation);
        var failed = outcomes.Any(static outcome => outcome is { Fault: not null, IsGoneAround: false });
        if (asJson)
        {
            Console.WriteLine(JsonSerializer.Serialize(
                new
                {
                    ok = !failed,
                    processor = Processor.Current.ToString(),
                    operations = outcomes.Count,
                    off = outcomes.Where(static outcome => outcome.Fault is not null),
                },
                Json));
            return failed ? 1 : 0;
        }

        Console.WriteLine(FormattableString.Invariant($"{outcomes.Count} operations against float64 on {Processor.Current}, {clock.Elapsed.TotalSeconds:0} s"));
        foreach (var kind in outcomes.GroupBy(static outcome => outcome.Kind))
        {
            var off = kind.Where(static outcome => outcome.Fault is not null).ToArray();
            var around = off.Count(static outcome => outcome.IsGoneAround);
            Console.WriteLine(
                $"  {kind.Key,-16} {kind.Count(),4}, "
                    + (off.Length == 0 ? "all right" : $"{off.Length} off, {around} of them computed another way by the toolkit"));
            foreach (var outcome in off.OrderBy(static outcome => outcome.IsGoneAround).Take(MostListed))
            {
                Console.WriteLine($"    {outcome.Case}: {outcome.Fault}{(outcome.IsGoneAround ? "" : " (not gone around)")}");
            }

            if (off.Length > MostListed)
            {
                Console.WriteLine($"    and {off.Length - MostListed} more; --json lists all");
            }
        }

        return failed ? 1 : 0;
    }

    private static async Task<int> RunAsync(bool asJson, bool fix, CancellationToken cancellation)
    {
        var repair = fix ? await LibTorchRepair.RunAsync(cancellation).ConfigureAwait(false) : null;
        var checks = new List<Check>();
        var terminal = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Out) });
        if (!terminal.Profile.Out.IsTerminal)
        {
            // Nothing is wrapped in a log file.
            terminal.Profile.Width = 1000;
        }

        foreach (var check in (repair is null ? [] : new[] { repair }).Concat(Doctor.Examine()))
        {
            checks.Add(check);
            if (!asJson)
            {
                Show(terminal, check);
            }
        }

        var failed = checks.Any(check => check.Health == Health.Fail);
        if (asJson)
        {
            Console.WriteLine(JsonSerializer.Serialize(new { ok = !failed, checks }, Json));
        }

        return failed ? 1 : 0;
    }

    private static void Show(IAnsiConsole terminal, Check check)
    {
        var mark = check.Health switch
        {
            Health.Ok => "[green]ok  [/]",
            Health.Warn => "[yellow]warn[/]",
            _ => "[red]fail[/]",
        };
        var row = new Grid().AddColumn(new GridColumn().NoWrap()).AddColumn(new GridColumn().NoWrap().Width(12)).AddColumn();
        row.AddRow(mark, $"[bold]{check.Name}[/]", Markup.Escape(check.Found));
        if (check.Advice.Length > 0)
        {
            row.AddRow("", "", $"[yellow]{Markup.Escape(check.Advice)}[/]");
        }

        terminal.Write(row);
    }
}
