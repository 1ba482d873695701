using System.Collections.Concurrent;
using System.Data;
using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Comparison;
using LoraNotebooks.Data;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Diffusion;
using Microsoft.Data.Analysis;
using Plotly.NET;
using SkiaSharp;

namespace LoraNotebooks.Interactive;

/// <summary>Turns any value into a <see cref="MimeBundle"/>: what a host does with the last value of a cell.</summary>
public static class DisplayFormatter
{
    private const int MostImages = 100;

    private static readonly ConcurrentDictionary<Type, Func<object, MimeBundle>> Formatters = new();

    // The library's objects do not know how they are drawn; here is said which display draws which.
    static DisplayFormatter()
    {
        Register<RgbImage>(image => new Gallery([image]).ToMimeBundle());
        Register<IEnumerable<RgbImage>>(images => Images(images).ToMimeBundle());
        Register<ImageDataset>(dataset => new DatasetDisplay(dataset).ToMimeBundle());
        Register<PreparedDataset>(dataset => new DatasetDisplay(dataset).ToMimeBundle());
        Register<DatasetReport>(report => new DatasetReportDisplay(report).ToMimeBundle());
        Register<TagTable>(table => new TagTableDisplay(table).ToMimeBundle());
        Register<TrainingPlan>(plan => new TrainingPlanDisplay(plan).ToMimeBundle());
        Register<MemoryPlan>(plan => new MemoryPlanDisplay(plan).ToMimeBundle());
        Register<TrainingResult>(result => new TrainingResultDisplay(result).ToMimeBundle());
        Register<IEnumerable<TrainingStep>>(steps => new LossChart([.. steps]).ToMimeBundle());
        Register<AdapterReport>(report => new ParameterReportDisplay(report).ToMimeBundle());
        Register<XyzResult>(result => new XyzGridDisplay(result).ToMimeBundle());
        Register<DataFrame>(frame => TableDisplay.Of(frame).ToMimeBundle());
        Register<DataTable>(table => TableDisplay.Of(table).ToMimeBundle());
        Register<DataView>(view => TableDisplay.Of(view.ToTable()).ToMimeBundle());
        Register<DataSet>(set => Together([.. set.Tables.Cast<DataTable>().Select(table => TableDisplay.Of(table).ToMimeBundle())]));
        Register<SKBitmap>(PictureDisplay.Of);
        Register<SKImage>(PictureDisplay.Of);
        Register<SKSurface>(PictureDisplay.Of);
        Register<GenericChart>(chart => new PlotlyFigure(chart).ToMimeBundle());
    }

    /// <summary>The registered types that are this library's own, or sequences of them: what another notebook program cannot know how to show.</summary>
    public static IReadOnlyCollection<Type> LibraryTypes => [.. Formatters.Keys.Where(type => type.GetGenericArguments().Append(type).Any(IsOurs))];

    /// <summary>Says how values of <typeparamref name="T"/> and of types derived from it are shown; the latest registration of a type wins.</summary>
    public static void Register<T>(Func<T, MimeBundle> format)
        where T : notnull
    {
        ArgumentNullException.ThrowIfNull(format);
        Formatters[typeof(T)] = value => format((T)value);
    }

    /// <summary>
    /// The forms of a value: of <see cref="IRichDisplay"/> its own, of a registered type what the registration says,
    /// of anything else its text, and a table for a sequence of objects or an object with properties.
    /// </summary>
    /// <remarks>The bundle is small enough to be kept in a notebook, see <see cref="MimeBundle.Limit"/>.</remarks>
    public static MimeBundle Format(object? value) => FormatWhole(value).Limit();

    private static MimeBundle FormatWhole(object? value)
    {
        switch (value)
        {
            case null:
                return MimeBundle.FromText("null");
            case MimeBundle bundle:
                return bundle;
            case IRichDisplay display:
                return display.ToMimeBundle();
        }

        for (var type = value.GetType(); type is not null; type = type.BaseType)
        {
            if (Formatters.TryGetValue(type, out var format))
            {
                return format(value);
            }
        }

        foreach (var contract in value.GetType().GetInterfaces())
        {
            if (Formatters.TryGetValue(contract, out var format))
            {
                return format(value);
            }
        }

        return value is JsonObject json && PlotlyFigure.IsFigure(json) ? new PlotlyFigure(json).ToMimeBundle()
            : PlotlyFigure.OfForeign(value)?.ToMimeBundle() ?? ValueFormatter.Format(value);
    }

    private static MimeBundle Together(IReadOnlyList<MimeBundle> bundles) => MimeBundle
        .FromText(string.Join("\n\n", bundles.Select(bundle => bundle.Text(MimeTypes.PlainText))))
        .With(MimeTypes.Html, string.Concat(bundles.Select(bundle => bundle.Text(MimeTypes.Html))));

    private static bool IsOurs(Type type) => type.Assembly.GetName().Name?.StartsWith(nameof(LoraNotebooks), StringComparison.Ordinal) == true;

    // A sequence may be endless, or make each picture when it is asked for.
    private static Gallery Images(IEnumerable<RgbImage> images)
    {
        RgbImage[] first = [.. images.Take(MostImages + 1)];
        return first.Length <= MostImages
            ? new Gallery(first)
            : new Gallery(first.Take(MostImages))
            {
                Title = images.TryGetNonEnumeratedCount(out var count) ? $"The first of {Numbers.Count(count)} images" : "The first images of more",
            };
    }
}
