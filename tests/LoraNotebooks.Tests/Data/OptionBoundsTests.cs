using System.Reflection;
using LoraNotebooks.Data;

namespace LoraNotebooks.Tests.Data;

/// <summary>Every property of the option records, at its bound and beyond. A new property without a line here fails.</summary>
public sealed class OptionBoundsTests
{
    private static readonly (object Options, string? Fault)[] Cases =
    [
        (new CaptionOptions(), null),
        (new CaptionOptions { Shuffle = true }, null),
        (new CaptionOptions { KeepTokens = 0 }, null),
        (new CaptionOptions { KeepTokens = -1 }, "KeepTokens: got -1, expected 0 or more"),
        (new CaptionOptions { CaptionDropout = 1 }, null),
        (new CaptionOptions { CaptionDropout = Math.BitIncrement(1) }, "CaptionDropout: got 1.0000000000000002, expected a probability from 0 to 1"),
        (new CaptionOptions { CaptionDropout = -double.Epsilon }, "CaptionDropout: got -5E-324, expected a probability from 0 to 1"),
        (new CaptionOptions { CaptionDropout = double.NaN }, "CaptionDropout: got NaN, expected a probability from 0 to 1"),
        (new CaptionOptions { TagDropout = 1 }, null),
        (new CaptionOptions { TagDropout = 1.5 }, "TagDropout: got 1.5, expected a probability from 0 to 1"),
        (new CaptionOptions { TagDropout = -0.5 }, "TagDropout: got -0.5, expected a probability from 0 to 1"),

        (new ImageDatasetOptions(), null),
        (new ImageDatasetOptions { Checks = ImageChecks.None }, null),
        (
            new ImageDatasetOptions { Checks = ImageChecks.None, Resolution = 1 },
            "Checks: got None together with a Resolution, expected Header or Full, because sizes are not read otherwise"),
        (new ImageDatasetOptions { Checks = ImageChecks.Header, Resolution = 1 }, null),
        (new ImageDatasetOptions { Resolution = 0 }, "Resolution: got 0, expected a positive number of pixels, or null for no limit"),
        (new ImageDatasetOptions { AllowUpscaling = true }, null),
        (new ImageDatasetOptions { RequireCaptions = false }, null),
        (new ImageDatasetOptions { MaxTokenLength = null }, null),
        (new ImageDatasetOptions { MaxTokenLength = 1 }, null),
        (new ImageDatasetOptions { MaxTokenLength = 0 }, "MaxTokenLength: got 0, expected a positive number of tokens, or null for no limit"),

        (new PreparationOptions(), null),
        (new PreparationOptions { Resolution = 64 }, null),
        (new PreparationOptions { Resolution = 95 }, "Resolution: got 95, expected a positive multiple of 64 (ResolutionStep), for example 64"),
        (new PreparationOptions { Resolution = 97 }, "Resolution: got 97, expected a positive multiple of 64 (ResolutionStep), for example 128"),
        (new PreparationOptions { Resolution = 1 }, "Resolution: got 1, expected a positive multiple of 64 (ResolutionStep), for example 64"),
        (new PreparationOptions { Resolution = 0 }, "Resolution: got 0, expected a positive multiple of 64 (ResolutionStep), for example 64"),
        (new PreparationOptions { Resolution = -64 }, "Resolution: got -64, expected a positive multiple of 64 (ResolutionStep), for example 64"),
        (new PreparationOptions { Resolution = 520, ResolutionStep = 8 }, null),
        (new PreparationOptions { ResolutionStep = 4 }, "ResolutionStep: got 4, expected a multiple of 8, usually 64"),
        (new PreparationOptions { Resolution = 480, ResolutionStep = 12 }, "ResolutionStep: got 12, expected a multiple of 8, usually 64"),
        (new PreparationOptions { ResolutionStep = 0 }, "ResolutionStep: got 0, expected a multiple of 8, usually 64"),
        (new PreparationOptions { ResolutionStep = -8 }, "ResolutionStep: got -8, expected a multiple of 8, usually 64"),
        (new PreparationOptions { Crop = CropMode.Centre }, null),
        (new PreparationOptions { Crop = (CropMode)2 }, "Crop: got 2, expected one of Centre, Given"),
        (new PreparationOptions { Mirror = true }, null),
        (new PreparationOptions { Repeats = 1 }, null),
        (new PreparationOptions { Repeats = 0 }, "Repeats: got 0, expected 1 or more"),
        (new PreparationOptions { TriggerWord = "sks person" }, null),
        (
            new PreparationOptions { TriggerWord = "" },
            "TriggerWord: got '', expected one tag: not empty, without commas, line breaks and outer spaces, or null for none"),
        (
            new PreparationOptions { TriggerWord = "a,b" },
            "TriggerWord: got 'a,b', expected one tag: not empty, without commas, line breaks and outer spaces, or null for none"),
        (
            new PreparationOptions { TriggerWord = ",a" },
            "TriggerWord: got ',a', expected one tag: not empty, without commas, line breaks and outer spaces, or null for none"),
        (
            new PreparationOptions { TriggerWord = " a" },
            "TriggerWord: got ' a', expected one tag: not empty, without commas, line breaks and outer spaces, or null for none"),
        (
            new PreparationOptions { TriggerWord = "a\nb" },
            "TriggerWord: got 'a\nb', expected one tag: not empty, without commas, line breaks and outer spaces, or null for none"),
        (new PreparationOptions { AllowUpscaling = true }, null),
    ];

    private static readonly Type[] Records = [typeof(CaptionOptions), typeof(ImageDatasetOptions), typeof(PreparationOptions)];

    [Fact]
    public void Validate_EachPropertyAtItsBound_FaultsOnlyBeyondIt()
    {
        foreach (var (options, fault) in Cases)
        {
            var type = options.GetType();
            Assert.Equal(fault is null ? [] : [fault], (IReadOnlyList<string>)type.GetMethod("Validate")!.Invoke(options, null)!);

            var error = Record.Exception(() => type.GetMethod("ThrowIfInvalid")!.Invoke(options, null))?.InnerException;
            Assert.Equal(fault is null ? null : $"{type.Name} has 1 unsupported or wrong value:\n- {fault}", error?.Message);
            Assert.True(error is null or ArgumentException);
        }
    }

    [Fact]
    public void Validate_EveryProperty_HasACase()
    {
        foreach (var type in Records)
        {
            var plain = Activator.CreateInstance(type);
            var tried = Cases.Where(entry => entry.Options.GetType() == type)
                .SelectMany(entry => Settable(type).Where(property => !Equals(property.GetValue(entry.Options), property.GetValue(plain)))).Distinct();
            Assert.Equal(Settable(type).Select(static property => property.Name).Order(), tried.Select(static property => property.Name).Order());
        }

        static IEnumerable<PropertyInfo> Settable(Type type) => type.GetProperties().Where(static property => property.CanWrite);
    }

    [Fact]
    public void ThrowIfInvalid_SeveralFaults_ListsAll() => Assert.Equal(
        "PreparationOptions has 2 unsupported or wrong values:\n- Resolution: got 100, expected a positive multiple of 64 (ResolutionStep), for example 128\n"
            + "- Repeats: got -1, expected 1 or more",
        Assert.Throws<ArgumentException>(new PreparationOptions { Resolution = 100, Repeats = -1 }.ThrowIfInvalid).Message);

    [Fact]
    public void Options_WithoutWords_HaveTheseDefaults()
    {
        Assert.Equal(new CaptionOptions { Shuffle = false, KeepTokens = 0, CaptionDropout = 0, TagDropout = 0 }, new CaptionOptions());
        Assert.Equal(
            new ImageDatasetOptions { Checks = ImageChecks.Full, Resolution = null, AllowUpscaling = false, RequireCaptions = true, MaxTokenLength = 75 },
            new ImageDatasetOptions());
        Assert.Equal(
            new PreparationOptions
            {
                Resolution = 512,
                ResolutionStep = 64,
                Crop = CropMode.Given,
                Mirror = false,
                Repeats = 1,
                TriggerWord = null,
                AllowUpscaling = false,
            },
            new PreparationOptions());
    }
}
