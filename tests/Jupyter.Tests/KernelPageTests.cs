using System.Text.Json;
using LoraNotebooks.Kernel.Notebooks;
using static Jupyter.Tests.NotebookPage;

namespace Jupyter.Tests;

/// <summary>What a person does to the kernels behind Jupyter's own page: several at once, and such as fail or end.</summary>
public sealed class KernelPageTests(JupyterFixture jupyter) : IClassFixture<JupyterFixture>
{
    /// <summary>How long a slow machine may take to start a kernel and to compile for it, in seconds.</summary>
    private const int Long = 240;

    [DrivesFact(Needs.Chromium | Needs.Jupyter)]
    public async Task TwoNotebooks_OneInterrupted_VariablesAreApartAndTheOtherRunsOn()
    {
        var release = Path.Combine(jupyter.Root, "release");
        var first = await jupyter.OpenAsync(Cells("var mine = \"first\";", Counting(release), "mine", "onlySecond"), "first.ipynb");
        var second = await jupyter.OpenAsync(Cells("var mine = 2; var onlySecond = true;", Counting(release), "mine"), "second.ipynb");
        foreach (var page in (Page[])[first, second])
        {
            await page.EvaluateAsync<bool>("Jupyter.notebook.execute_cells([0, 1]), true");
        }

        foreach (var page in (Page[])[first, second])
        {
            await ReachAsync(page, $"{Runs(1)} && {Counted} > 0", Long);
        }

        await first.PressAsync("button[data-jupyter-action='jupyter-notebook:interrupt-kernel']");
        await first.WaitAsync(Ended, Long);
        Assert.Equal("Canceled: cell 2 was stopped.", Assert.Single(await first.EvaluateAsync<string[]>(Errors)));

        var counted = await second.EvaluateAsync<int>(Counted);
        await ReachAsync(second, $"{Runs(1)} && {Counted} > {counted + 5}", Long);
        await second.ScreenshotAsync("two-notebooks-other-runs");

        Assert.EndsWith("first", (await RunAsync(first, 2)).Trim(), StringComparison.Ordinal);
        Assert.Contains("CS0103", await RunAsync(first, 3), StringComparison.Ordinal);
        Assert.True(await second.EvaluateAsync<bool>(Runs(1)));
        await File.WriteAllTextAsync(release, "");
        await ReachAsync(second, $"{Ended} && {Output(1)}.includes('released')", Long);
        Assert.EndsWith("2", (await RunAsync(second, 2)).Trim(), StringComparison.Ordinal);
    }

    [DrivesTheory(Needs.Chromium | Needs.Jupyter)]
    [InlineData("thread", "new Thread(Fall).Start(); void Fall() { Hold(); throw new InvalidOperationException(\"it fell\"); }", "another thread")]
    [InlineData("async", "Fall(); async void Fall() { await Task.Yield(); Hold(); throw new InvalidOperationException(\"it fell\"); }", "an async void method")]
    public async Task BackgroundWork_Fails_ErrorIsAtItsCellAndTheSessionGoesOn(string name, string work, string source)
    {
        var release = Path.Combine(jupyter.Root, "release-" + name);
        var hold = $"void Hold() {{ while (!File.Exists({JsonSerializer.Serialize(release)})) Thread.Sleep(10); }}";
        var page = await jupyter.OpenAsync(Cells("var before = 41; " + hold, work, "\"a later one\"", "before + 1"), name + ".ipynb");
        foreach (var cell in Enumerable.Range(0, 3))
        {
            await RunAsync(page, cell);
        }

        Assert.Empty(await page.EvaluateAsync<string[]>(Errors));
        await File.WriteAllTextAsync(release, "");
        await page.WaitAsync($"{Output(1)}.includes('it fell')", Long);
        var shown = await page.EvaluateAsync<string>(Output(1));
        Assert.Contains($"Thrown by {source}, where nothing caught it:", shown, StringComparison.Ordinal);
        Assert.Contains("InvalidOperationException", shown, StringComparison.Ordinal);
        await page.ScreenshotAsync("background-" + name);

        Assert.EndsWith("42", (await RunAsync(page, 3)).Trim(), StringComparison.Ordinal);
        Assert.Single(await page.EvaluateAsync<string[]>(Errors));
        Assert.DoesNotContain("it fell", await page.EvaluateAsync<string>(Output(2)), StringComparison.Ordinal);
    }

    [DrivesFact(Needs.Chromium | Needs.Jupyter | Needs.Packages)]
    public async Task Packages_WithNativesAndAnotherInALaterCell_AreBothUsed()
    {
        var notebook = Cells(
            $"""
            #r "nuget: {Programs.Packages[0]}"
            using Microsoft.Data.Sqlite;
            var database = new SqliteConnection("Data Source=:memory:");
            database.Open();
            object? Ask(string sql) => new SqliteCommand(sql, database).ExecuteScalar();
            Ask("create table pictures (name text, steps integer); insert into pictures values ('mika', 40), ('bridge', 2)");
            Ask("select sum(steps) from pictures")
            """,
            $"""
            #r "nuget: {Programs.Packages[1]}"
            using Humanizer;
            "PicturesOfMika".Humanize()
            """,
            "$\"{Ask(\"select count(*) from pictures\")} {\"PicturesOfMika\".Humanize()}\"");
        var page = await jupyter.OpenAsync(notebook, "packages.ipynb");
        await page.EvaluateAsync<bool>(RunAll);
        await ReachAsync(page, $"{Ended} && {Output(2)}", Long);
        string[] expected = ["42", "Pictures of mika", "2 Pictures of mika"];
        foreach (var (cell, value) in expected.Index())
        {
            Assert.EndsWith(value, (await page.EvaluateAsync<string>(Output(cell))).Trim(), StringComparison.Ordinal);
        }

        await page.ScreenshotAsync("packages");
    }

    [DrivesFact(Needs.Chromium | Needs.Jupyter)]
    public async Task EnvironmentExit_InACell_ReasonIsShownAndTheRestartedKernelRunsCells()
    {
        var notebook = Cells("var before = 41;", "Console.WriteLine(\"so far\"); Environment.Exit(3);", "before", "Environment.ProcessId");
        var page = await jupyter.OpenAsync(notebook, "exit.ipynb");
        await RunAsync(page, 0);
        var process = await RunAsync(page, 3);
        await StartAsync(page, 1);
        await page.WaitAsync($"{Output(1)}.includes('ended, with exit code 3')", Long);
        Assert.Contains("so far", await page.EvaluateAsync<string>(Output(1)), StringComparison.Ordinal);

        // Jupyter tells of the restart, and the reader agrees.
        const string agree = "document.querySelector('.modal.in .btn-primary')";
        await page.WaitAsync(agree, Long);
        await page.ScreenshotAsync("exit-restarts");
        await page.EvaluateAsync<bool>($"{agree}.click(), true");
        await page.WaitAsync($"!document.querySelector('.modal') && Jupyter.notebook.kernel.is_connected() && {Ended}", Long);

        // The page hears of the new kernel.
        await page.WaitAsync("document.querySelector('#notification_kernel').textContent === ''", Long);
        Assert.Contains("ended, with exit code 3", await page.EvaluateAsync<string>(Output(1)), StringComparison.Ordinal);

        Assert.Contains("CS0103", await RunAsync(page, 2), StringComparison.Ordinal);
        Assert.NotEqual(process, await RunAsync(page, 3));
        await page.ScreenshotAsync("exit-restarted");
    }

    /// <summary>What <see cref="Counting"/> has counted so far.</summary>
    private static readonly string Counted = $"Number(/(\\d+)\\s*$/.exec({Output(1)})?.[1] ?? 0)";

    /// <summary>A cell that counts until a file is there.</summary>
    private static string Counting(string release) => $$"""
        for (var count = 1; !File.Exists({{JsonSerializer.Serialize(release)}}); count++)
        {
            Console.WriteLine(count);
            Thread.Sleep(50);
        }

        Console.WriteLine("released");
        """;

    private static Notebook Cells(params IEnumerable<string> cells)
    {
        var notebook = Notebook.Create();
        foreach (var cell in cells)
        {
            notebook.Add(CellKind.Code, cell);
        }

        return notebook;
    }
}
