using System.Text;
using LoraNotebooks.Kernel.Notebooks;

namespace LoraNotebooks.Kernel.Tests.Notebooks;

public sealed class NotebookStripperTests
{
    // Laid out by hand, with escapes that no writer here would make: only what is stripped may change.
    private const string Executed = """
        {"nbformat":4, "nbformat_minor" : 5,
          "metadata": { "kernelspec": {"name":"caf\u00e9"}, "lora_notebooks": {"executed": "abc", "machine": {"processor": "p", "threads": 2}} },
          "cells": [
            {"outputs": [ {"output_type":"stream", "name":"stdout", "text":["outputs: []"]} ], "cell_type":"code", "execution_count": 12,
             "metadata": {"execution": {"iopub.status.busy": "2026"}, "tags": ["a\/b"], "ExecuteTime": {"end_time": "1"}}, "source": "\"outputs\": [1]"},
            {"cell_type":"code", "execution_count":null, "metadata": {"ExecuteTime": {}, "execution": {}}, "outputs": [ ], "source": []},
            {"cell_type":"code", "execution_count":3, "metadata": {"execution": {}, "collapsed": true, "outputs": [1]}, "outputs": [1, [2]], "source": []},
            {"cell_type":"markdown", "metadata": {}, "source": "execution_count"}
          ]}
        """;

    private const string Clean = """
        {"nbformat":4, "nbformat_minor" : 5,
          "metadata": { "kernelspec": {"name":"caf\u00e9"} },
          "cells": [
            {"outputs": [], "cell_type":"code", "execution_count": null,
             "metadata": {"tags": ["a\/b"]}, "source": "\"outputs\": [1]"},
            {"cell_type":"code", "execution_count":null, "metadata": {}, "outputs": [ ], "source": []},
            {"cell_type":"code", "execution_count":null, "metadata": {"collapsed": true, "outputs": [1]}, "outputs": [], "source": []},
            {"cell_type":"markdown", "metadata": {}, "source": "execution_count"}
          ]}
        """;

    [Theory]
    [InlineData("")]
    [InlineData("\uFEFF")]
    public void Strip_ExecutedNotebook_ChangesNothingElse(string mark) =>
        Assert.Equal(mark + Clean, Encoding.UTF8.GetString(NotebookStripper.Strip(Encoding.UTF8.GetBytes(mark + Executed))));

    [Fact]
    public void Strip_CleanNotebook_IsTheSameObject()
    {
        var notebook = Encoding.UTF8.GetBytes(Clean);
        Assert.Same(notebook, NotebookStripper.Strip(notebook));
    }
}
