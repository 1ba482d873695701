namespace Jupyter.Tests;

/// <summary>What Jupyter's page says about its notebook, as expressions for <see cref="Page"/>, and the waiting for it.</summary>
internal static class NotebookPage
{
    /// <summary>Runs every cell.</summary>
    public const string RunAll = "Jupyter.notebook.execute_all_cells(), true";

    /// <summary>Where every cell that ran has ended: the kernel is idle and none is marked as running.</summary>
    public const string Ended = "!Jupyter.notebook.kernel_busy && !Jupyter.notebook.get_cells().some(cell => "
        + "cell.cell_type === 'code' && (cell.element.hasClass('running') || cell.input_prompt_number === '*'))";

    /// <summary>The errors of all cells.</summary>
    public const string Errors = "Jupyter.notebook.get_cells().flatMap(cell => cell.output_area?.outputs ?? [])"
        + ".filter(output => output.output_type === 'error').map(output => output.ename + ': ' + output.evalue)";

    /// <summary>What is seen below a cell.</summary>
    public static string Output(int cell) => $"Jupyter.notebook.get_cell({cell}).output_area.element[0].innerText";

    /// <summary>Whether a cell is marked as running.</summary>
    public static string Runs(int cell) =>
        $"(Jupyter.notebook.get_cell({cell}).element.hasClass('running') && Jupyter.notebook.get_cell({cell}).input_prompt_number === '*')";

    /// <summary>Waits for what a run leads to; an error in a cell ends the waiting.</summary>
    public static async Task ReachAsync(Page page, string expression, int seconds)
    {
        await page.WaitAsync($"{Errors}.length || ({expression})", seconds);
        Assert.Empty(await page.EvaluateAsync<string[]>(Errors));
    }

    /// <summary>Starts one cell.</summary>
    public static Task StartAsync(Page page, int cell) => page.EvaluateAsync<bool>($"Jupyter.notebook.execute_cells([{cell}]), true");

    /// <summary>Runs one cell to its end.</summary>
    public static async Task<string> RunAsync(Page page, int cell)
    {
        await StartAsync(page, cell);
        await page.WaitAsync(Ended, 240);
        return await page.EvaluateAsync<string>(Output(cell));
    }
}
