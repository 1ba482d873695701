using System.Diagnostics;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Running;
using Microsoft.CodeAnalysis.CSharp;

namespace Jupyter.Tests;

/// <summary>Every chapter under nbclient, the program with which documentation builds and course graders execute notebooks.</summary>
public sealed class NbClientTests(JupyterFixture jupyter) : IClassFixture<JupyterFixture>
{
    /// <summary>The command <c>jupyter execute</c> of older versions does not write what it executed.</summary>
    private const string Script = """
        import sys, nbclient, nbformat
        notebook = nbformat.read(sys.argv[1], as_version=4)
        nbclient.NotebookClient(notebook, timeout=600).execute()
        nbformat.write(notebook, sys.argv[1])
        """;

    public static TheoryData<string> Chapters =>
        [.. Directory.GetFiles(Repository.Notebooks, "*.ipynb").Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    [DrivesTheory(Needs.NbClient)]
    [MemberData(nameof(Chapters))]
    public async Task Execute_Chapter_SucceedsWithPictures(string chapter)
    {
        var notebook = Notebook.Load(Path.Combine(Repository.Notebooks, chapter));
        if (notebook.Cells.Any(cell => cell.Source.Contains("var epochs =", StringComparison.Ordinal)))
        {
            RunParameters.Inject(notebook, Repository.Notebooks, new Dictionary<string, string>
            {
                ["epochs"] = "2",
                ["repeats"] = "2",
                ["output"] = SymbolDisplay.FormatLiteral(Path.Combine(jupyter.Root, Path.GetFileNameWithoutExtension(chapter)), quote: true),
            });
        }

        var path = Path.Combine(jupyter.Notebooks, chapter);
        notebook.Save(path);
        await RunAsync("dotnet", JupyterFixture.Program("kernel", "install"));
        await RunAsync(Programs.PythonWithNbClient ?? "python3", "-c", Script, path);

        var executed = Notebook.Load(path);
        Assert.All(executed.Cells.Where(cell => cell.Kind == CellKind.Code), cell => Assert.NotNull(cell.ExecutionCount));
        var outputs = executed.Cells.SelectMany(cell => cell.Outputs).Select(output => output!).ToArray();
        Assert.DoesNotContain(outputs, output => (string?)output["output_type"] == "error");
        Assert.Contains(outputs, output => Notebook.JoinText(output["data"]?["text/html"]).Contains("<img src=\"data:image/", StringComparison.Ordinal));
    }

    private async Task RunAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(jupyter.Command(program, arguments))!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}\n{await output}\n{await error}");
    }
}
