using LoraNotebooks.Data;

namespace LoraNotebooks.Tests.Data;

/// <summary>How what is wrong with a dataset is ordered, counted and shortened.</summary>
public sealed class DatasetReportTests
{
    private const string Root = "/data/set";

    [Fact]
    public void Issues_Order_IsErrorsFirstThenByFileThenByKind()
    {
        var report = Report(
            (DatasetSeverity.Warning, DatasetFault.LongCaption, "a.txt"),
            (DatasetSeverity.Error, DatasetFault.TooSmall, "b.png"),
            (DatasetSeverity.Error, DatasetFault.EmptyFile, "b.png"),
            (DatasetSeverity.Error, DatasetFault.TooSmall, "B.png"),
            (DatasetSeverity.Warning, DatasetFault.LostPicture, "A.png"));

        Assert.Equal(
            [
                ("B.png", DatasetFault.TooSmall), ("b.png", DatasetFault.EmptyFile), ("b.png", DatasetFault.TooSmall),
                ("A.png", DatasetFault.LostPicture), ("a.txt", DatasetFault.LongCaption)],
            report.Issues.Select(static issue => (issue.File, issue.Fault)));
        Assert.Equal(["B.png", "b.png", "b.png"], report.Errors.Select(static issue => issue.File));
        Assert.Equal(["A.png", "a.txt"], report.Warnings.Select(static issue => issue.File));
        Assert.Equal(
            "/data/set: 3 errors, 2 warnings\n- error: B.png: m\n- error: b.png: m\n- error: b.png: m\n- warning: A.png: m\n- warning: a.txt: m",
            report.ToString());
        Assert.Equal(Root, report.Folder);
    }

    [Theory]
    [InlineData(0, 0, "0 errors, 0 warnings")]
    [InlineData(1, 0, "1 error, 0 warnings")]
    [InlineData(0, 1, "0 errors, 1 warning")]
    [InlineData(2, 2, "2 errors, 2 warnings")]
    public void ThrowIfErrors_ErrorsAlone_AreThrown(int errors, int warnings, string counts)
    {
        var report = Report(
            [.. Many(errors, DatasetSeverity.Error, DatasetFault.TooSmall), .. Many(warnings, DatasetSeverity.Warning, DatasetFault.LongCaption)]);

        Assert.Equal(errors > 0, report.HasErrors);
        Assert.Equal($"{Root}: {counts}", report.ToString().Split('\n')[0]);
        if (errors == 0)
        {
            report.ThrowIfErrors();
            return;
        }

        var error = Assert.Throws<DatasetException>(report.ThrowIfErrors);
        Assert.Equal(report.ToString(), error.Message);
        Assert.Same(report, error.Report);
    }

    [Theory]
    [InlineData(10, null)]
    [InlineData(11, "1 more files of this kind")]
    [InlineData(25, "15 more files of this kind")]
    public void Brief_ManyOfAKind_IsTheFirstTenOfEachAndACount(int count, string? more)
    {
        var report = Report(
            [
                .. Many(count, DatasetSeverity.Error, DatasetFault.TooSmall),
                .. Many(10, DatasetSeverity.Error, DatasetFault.EmptyFile),
                .. Many(3, DatasetSeverity.Warning, DatasetFault.TooSmall),
            ]);

        var brief = report.Brief;

        Assert.Equal(10 + 10 + 3 + (more is null ? 0 : 1), brief.Count);
        Assert.Equal(report.Issues.Where(static issue => int.Parse(issue.File[..2]) < 10), brief.Take(23));
        Assert.Equal(more is null ? null : new DatasetIssue(DatasetSeverity.Error, DatasetFault.TooSmall, "TooSmall", more), brief.ElementAtOrDefault(23));
        Assert.Equal(count + 13, report.Issues.Count);
        Assert.Equal(1 + brief.Count, report.ToString().Split('\n').Length);
    }

    [Fact]
    public void Summary_Warnings_AreALineForEachKindOfTenFilesAtMost()
    {
        var report = Report(
            [
                .. Many(12, DatasetSeverity.Warning, DatasetFault.TooSmall),
                .. Many(1, DatasetSeverity.Warning, DatasetFault.LostPicture),
                .. Many(1, DatasetSeverity.Error, DatasetFault.EmptyFile),
            ]);

        Assert.Equal(
            [string.Join(' ', Enumerable.Range(0, 10).Select(static i => $"{i:D2}.png: m")) + " and 2 more", "00.png: m"],
            report.Summary.OrderByDescending(static line => line.Length));
    }

    [Fact]
    public void Try_Exceptions_BecomeIssuesOfTheirKind()
    {
        var issues = new DatasetIssues(Root);

        Assert.Equal(7, issues.Try($"{Root}/a.png", static () => 7, 0));
        Assert.Equal(1, issues.Try($"{Root}/b/c.png", static () => throw new InvalidDataException("cut off"), 1));
        Assert.Equal(2, issues.Try($"{Root}/d.png", static () => throw new IOException("gone"), 2));
        Assert.Equal(3, issues.Try($"{Root}/e.png", static () => throw new UnauthorizedAccessException("not yours"), 3));
        Assert.Throws<FormatException>(() => issues.Try<int>($"{Root}/f.png", static () => throw new FormatException(), 4));
        issues.Warning(DatasetFault.LongCaption, Root, "long");

        Assert.Equal(3, issues.ErrorCount);
        Assert.Equal(
            [
                new(DatasetSeverity.Error, DatasetFault.CorruptImage, "b/c.png", "cut off"),
                new(DatasetSeverity.Error, DatasetFault.UnreadableFile, "d.png", "gone"),
                new(DatasetSeverity.Error, DatasetFault.UnreadableFile, "e.png", "not yours"),
                new(DatasetSeverity.Warning, DatasetFault.LongCaption, ".", "long"),
            ],
            issues.ToReport().Issues);
        Assert.Equal(Root, issues.ToReport().Folder);
    }

    private static DatasetReport Report(params (DatasetSeverity Severity, DatasetFault Fault, string File)[] issues) =>
        new(Root, issues.Select(static issue => new DatasetIssue(issue.Severity, issue.Fault, issue.File, "m")));

    private static IEnumerable<(DatasetSeverity Severity, DatasetFault Fault, string File)> Many(int count, DatasetSeverity severity, DatasetFault fault) =>
        Enumerable.Range(0, count).Select(i => (severity, fault, $"{i:D2}.png"));
}
