using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;
using LoraNotebooks.Kernel.Doctoring;
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

    public static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "Writes the report as JSON." };
        var fix = new Option<bool>("--fix") { Description = "Fetches libtorch into NuGet's package folder, if it is missing there (about 200 MB)." };
        var command = new Command("doctor", "Checks the .NET SDK, libtorch, the processor, memory and the embedded model, and says what to do where something is missing.") { json, fix };
        command.SetAction((arguments, cancellation) => RunAsync(arguments.GetValue(json), arguments.GetValue(fix), cancellation));
        return command;
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
