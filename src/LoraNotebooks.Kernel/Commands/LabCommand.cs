using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.RegularExpressions;
using LoraNotebooks.Kernel.Jupyter;
using Spectre.Console;

namespace LoraNotebooks.Kernel.Commands;

/// <summary><c>lab</c>: installs the kernel and opens the notebooks in JupyterLab or Jupyter Notebook.</summary>
internal static partial class LabCommand
{
    /// <summary>The exit code where no Jupyter is installed.</summary>
    public const int NoJupyter = 6;

    private const string Advice = """
        There is no Jupyter on the PATH. Any of these brings one:
          pip install jupyterlab
          apt install jupyter-notebook        (Debian, Ubuntu)
          VS Code with its Jupyter extension  (open a notebook there and choose the kernel "C# (LoraNotebooks)")
        Without any, notebooks run with: lora-notebooks run notebook.ipynb
        """;

    public static Command Create()
    {
        var port = new Option<int>("--port") { Description = "The port on 127.0.0.1. Default: a free one.", HelpName = "number" };
        var noBrowser = new Option<bool>("--no-browser") { Description = "Only says the address." };
        var rest = new Argument<string[]>("folder")
        {
            Description = "The folder to open. Default: \"notebooks\" here or in a folder above, else the current one. "
                + "Options that are none of these, and everything after \"--\", are passed on to Jupyter: lab --collaborative -- --config my.py",
            Arity = ArgumentArity.ZeroOrMore,
            HelpName = "folder and Jupyter's options",
        };
        var command = new Command("lab", "Opens the notebooks in JupyterLab or Jupyter Notebook with the C# kernel.") { rest, port, noBrowser };
        command.SetAction((arguments, cancellation) =>
        {
            var tokens = arguments.Tokens.Select(token => token.Type).ToList();
            var dashes = tokens.IndexOf(TokenType.DoubleDash);
            var behind = dashes < 0 ? 0 : tokens.Count - dashes - 1;
            var given = Read(arguments.GetValue(rest) ?? [], behind);
            var own = arguments.GetResult(port) is null ? (int?)null : arguments.GetValue(port);
            return RunAsync(given with { Port = given.Port ?? own, NoBrowser = given.NoBrowser || arguments.GetValue(noBrowser) }, cancellation);
        });
        return command;
    }

    /// <summary>Tells the folder from what is Jupyter's; of the latter it takes out what <c>lab</c> itself has to know.</summary>
    /// <param name="words">The words that are no option of <c>lab</c>.</param>
    /// <param name="behind">How many of them, at the end, stand after "--".</param>
    private static Given Read(string[] words, int behind)
    {
        var given = new Given(null, null, NoBrowser: false, []);
        var passed = new List<string>();
        for (var i = 0; i < words.Length; i++)
        {
            var (word, next) = (words[i], i + 1 < words.Length ? words[i + 1] : "");
            var isBehind = i >= words.Length - behind;
            if (word == "--no-browser")
            {
                given = given with { NoBrowser = true };
            }
            else if (word == "--port" && int.TryParse(next, CultureInfo.InvariantCulture, out var number))
            {
                given = given with { Port = number };
                i++;
            }
            else if (word.StartsWith("--port=", StringComparison.Ordinal) && int.TryParse(word["--port=".Length..], CultureInfo.InvariantCulture, out number))
            {
                given = given with { Port = number };
            }
            else if (!isBehind && !word.StartsWith('-') && given.Folder is null && (passed.Count == 0 || Directory.Exists(word)))
            {
                // After an option of Jupyter's a word may be its value.
                given = given with { Folder = word };
            }
            else
            {
                passed.Add(word);
            }
        }

        return given with { Passed = passed };
    }

    private static async Task<int> RunAsync(Given given, CancellationToken cancellation)
    {
        var terminal = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Out) });
        var folder = Path.GetFullPath(given.Folder ?? NotebooksFrom(Environment.CurrentDirectory));
        if (!Directory.Exists(folder))
        {
            terminal.MarkupLineInterpolated($"[red]There is no folder {folder}.[/]");
            return 1;
        }

        var installed = KernelSpec.Install(JupyterPaths.UserData());
        var program = await JupyterProgram.FindAsync(cancellation).ConfigureAwait(false);
        if (program is null)
        {
            terminal.WriteLine(Advice);
            return NoJupyter;
        }

        terminal.MarkupLineInterpolated($"[grey]kernel     {installed}[/]");
        terminal.MarkupLineInterpolated($"[grey]notebooks  {folder}[/]");
        await using var server = JupyterServer.Start(program, folder, given.Port ?? 0, !given.NoBrowser, given.Passed, line => Show(terminal, line));
        try
        {
            if (!await server.IsUpAsync(cancellation).ConfigureAwait(false))
            {
                terminal.MarkupLineInterpolated($"[red]{program.Name} ended before it answered.[/]");
                return 1;
            }

            // Not wrapped: a link that is cut in two is no link.
            terminal.MarkupLineInterpolated($"[bold]{program.Name}[/] is running. Stop it with Ctrl+C.");
            terminal.Profile.Out.Writer.WriteLine(server.Address.AbsoluteUri);
            return await server.WaitAsync(cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            terminal.MarkupLineInterpolated($"[grey]Stopping {program.Name} …[/]");
            return 0;
        }
    }

    /// <summary>The folder "notebooks" in the given folder or one above it, else the given one.</summary>
    private static string NotebooksFrom(string folder)
    {
        for (var at = new DirectoryInfo(folder); at is not null; at = at.Parent)
        {
            var notebooks = Path.Combine(at.FullName, "notebooks");
            if (Directory.Exists(notebooks))
            {
                return notebooks;
            }
        }

        return folder;
    }

    /// <summary>Of a server's log only what a user may have to act on: warnings, errors, and what is no log line, such as a traceback.</summary>
    private static void Show(IAnsiConsole terminal, string line)
    {
        var entry = LogLine().Match(line);
        var level = entry.Groups["level"].Value;
        if (!entry.Success)
        {
            if (!string.IsNullOrWhiteSpace(line) && !Continuation().IsMatch(line))
            {
                terminal.MarkupLineInterpolated($"[grey]{line}[/]");
            }
        }
        else if (level is "E" or "C" && !line.Contains("?token=", StringComparison.Ordinal))
        {
            terminal.MarkupLineInterpolated($"[red]{entry.Groups["text"].Value}[/]");
        }
        else if (level is "W")
        {
            terminal.MarkupLineInterpolated($"[yellow]{entry.Groups["text"].Value}[/]");
        }
    }

    /// <summary>What the command line asks for.</summary>
    private sealed record Given(string? Folder, int? Port, bool NoBrowser, IReadOnlyList<string> Passed);

    /// <summary>A log line of traitlets' applications: <c>[I 12:34:56.789 NotebookApp] text</c>, the date before the time in newer ones.</summary>
    [GeneratedRegex(@"\A\[(?<level>[DIWEC]) [^\]]*\] ?(?<text>.*)\z")]
    private static partial Regex LogLine();

    /// <summary>The lines in which the server offers its own link, which is said already.</summary>
    [GeneratedRegex(@"\A\s+(To access the|file:|Or copy and paste|or https?:|https?:)")]
    private static partial Regex Continuation();
}
